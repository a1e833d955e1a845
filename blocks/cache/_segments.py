"""Files of the cache's earlier format, `<rows>x<dimension>-<random>.segment`. Segments are converted once.

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
NAME: Final = re.compile(r"(\d{1,9})x(\d{1,6})-[0-9a-f]{32}\.segment")


def read(path: Path, batch: int) -> Iterator[list[tuple[bytes, int, bytes]]]:
    """Yield key, dimension and unchecked record of each vector, in batches; nothing if the keys are damaged.

    `OSError` if it is gone or cannot be read.
    """
    rows, dimension = shape(path.name)
    width = 4 * dimension + CHECK_BYTES
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        keys = file.read(rows * KEY_BYTES)
        if head != _HEAD.pack(_MAGIC, rows, dimension, crc32(keys, crc32(_SHAPE.pack(rows, dimension)))):
            return
        for first in range(0, rows, batch):
            raw = file.read(min(batch, rows - first) * width)
            yield [
                (
                    keys[(first + row) * KEY_BYTES : (first + row + 1) * KEY_BYTES],
                    dimension,
                    raw[row * width : (row + 1) * width],
                )
                for row in range(len(raw) // width)
            ]


def shape(name: str) -> tuple[int, int]:
    """Return rows and dimension of a segment, by its name."""
    found = NAME.fullmatch(name)
    assert found is not None
    return int(found[1]), int(found[2])
