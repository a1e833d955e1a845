"""Files of the cache's earlier format, `<rows>x<dimension>-<random>.segment`. They are converted once.

    8 bytes              "PFOVEC1" and a line feed
    4, 4, 4              rows, dimension, CRC-32 of both and of the keys
    rows × 16            keys
    rows × (4 d + 4)     records, as they are now

All numbers are little-endian. A file is removed after its records are in the database. So a conversion that was killed
continues at the next opening, and inserts nothing twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Final
from zlib import crc32

from prefect_ollama.blocks.cache._records import CHECK_BYTES
from prefect_ollama.blocks.cache.keys import KEY_BYTES

# The layout above. A damaged or foreign file is recognised by its first bytes and the checksum.
_MAGIC: Final = b"PFOVEC1\n"
_HEAD: Final = Struct("<8sIII")
_SHAPE: Final = Struct("<II")
_NAME: Final = re.compile(r"(\d{1,9})x(\d{1,6})-[0-9a-f]{32}\.segment(\.tmp|\.damaged)?")

# A lock file of the earlier format.
LEFT_OVER: Final = "compaction.lock"


def is_segment(name: str) -> bool:
    """Return whether a name is that of a segment, a half-written one or a damaged one."""
    return _NAME.fullmatch(name) is not None


def is_whole(name: str) -> bool:
    """Return whether a name is that of a segment with vectors to convert."""
    match = _NAME.fullmatch(name)
    return match is not None and match[3] is None


def rows(name: str) -> int:
    """Return how many vectors were written to a segment, by its name."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else 0


def read(path: Path, batch: int) -> Iterator[tuple[int, list[tuple[bytes, bytes]]]]:
    """Yield dimension and unchecked records, with their keys, in batches; nothing if the keys are damaged.

    Raises:
        OSError: It is gone, or cannot be read.
    """
    match = _NAME.fullmatch(path.name)
    assert match is not None
    count, dimension = int(match[1]), int(match[2])
    width = 4 * dimension + CHECK_BYTES
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        keys = file.read(count * KEY_BYTES)
        if head != _HEAD.pack(_MAGIC, count, dimension, crc32(keys, crc32(_SHAPE.pack(count, dimension)))):
            return
        for first in range(0, count, batch):
            raw = file.read(min(batch, count - first) * width)
            yield (
                dimension,
                [
                    (
                        keys[(first + row) * KEY_BYTES : (first + row + 1) * KEY_BYTES],
                        raw[row * width : (row + 1) * width],
                    )
                    for row in range(len(raw) // width)
                ],
            )
