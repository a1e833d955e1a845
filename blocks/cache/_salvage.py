"""Move sound vectors from a damaged database, and from caches of the earlier format, into the database.

The earlier format is files `<rows>x<dimension>-<random>.segment`:

    8 bytes              "PFOVEC1" and a line feed
    4, 4, 4              rows, dimension, CRC-32 of both and of the keys
    rows × 16            keys
    rows × (4 d + 4)     records, as they are now

All numbers are little-endian. A file is removed after its records are in the database. So a conversion that was killed
continues at the next opening, and inserts nothing twice.
"""

import logging
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import groupby, islice
from pathlib import Path
from struct import Struct
from typing import Any, Final
from zlib import crc32

from prefect_ollama.blocks.cache import _sql
from prefect_ollama.blocks.cache._folder import Folder
from prefect_ollama.blocks.cache.records import CHECK_BYTES, KEY_BYTES, unpack
from prefect_ollama.blocks.errors import CacheError
from prefect_ollama.blocks.quantity import quantity

logger = logging.getLogger(__name__)

# Records in one transaction of a conversion: 1.5 MB of 768 floats, so that others get their turn.
BATCH: Final = 512

# Stores key and record of vectors, given their dimension and when they were last used (None: now).
Insert = Callable[[Sequence[tuple[bytes, bytes]], int, int | None], None]


def rescue(insert: Insert, aside: Path, why: str) -> None:
    """Copy the sound vectors of a damaged database into the new one."""
    kept = 0
    try:
        for count in _insert_sound(insert, _read_damaged(aside)):
            kept += count
    except (CacheError, sqlite3.Error, OSError) as error:
        logger.debug("reading %s ended: %s", aside, error)
    logger.warning(
        "The database of the vector cache is damaged: %s. It was set aside as %s; %d of its vectors were kept, the "
        "others count as missing.",
        why,
        aside,
        kept,
    )


def convert(folder: Folder, insert: Insert) -> None:
    """Move the vectors of segments into the database."""
    times = {name: int(stat.st_mtime) for name, stat in folder.ours(SEGMENT).items()}
    logger.info("Converting %s of the vector cache %s.", quantity(len(times), "file"), folder.spec.folder)
    # The most recently used vectors are stored last, so that they stay if there is no room for all.
    for name in sorted(times, key=times.__getitem__):
        path, kept = folder.path(name), 0
        try:
            for count in _insert_sound(insert, _read_segment(path), times[name]):
                kept += count
            path.unlink()
        except OSError as error:
            logger.warning("%s cannot be converted and counts as missing: %s.", path, error)
            continue
        if kept < (rows_written := _shape(name)[0]):
            logger.warning("%s is damaged; vectors kept: %d of %d.", path, kept, rows_written)


def _insert_sound(insert: Insert, rows: Iterator[tuple[Any, ...]], used: int | None = None) -> Iterator[int]:
    """Insert the rows whose checksum is right, and yield the number of each batch. A row is key, dimension, record."""
    while batch := list(islice(rows, BATCH)):
        # A damaged database may return any type and value.
        usable = [row for row in batch if isinstance(row[0], bytes) and row[1] in range(1, 1_000_000)]
        for dimension, group in groupby(usable, key=lambda row: int(row[1])):
            part = list(group)
            sound, _ = unpack([row[0] for row in part], [row[2] for row in part], dimension)
            good = [(row[0], row[2]) for row, is_sound in zip(part, sound, strict=True) if is_sound]
            if good:
                insert(good, dimension, used)
            yield len(good)


def _read_damaged(path: Path) -> Iterator[tuple[Any, ...]]:
    """Yield `key, dimension, record` of what can be read of a damaged database."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        connection.text_factory = bytes
        yield from _sql.everything(connection)


# The layout above. A damaged or foreign file is recognised by its first bytes and the checksum.
_MAGIC: Final = b"PFOVEC1\n"
_HEAD: Final = Struct("<8sIII")
_SHAPE: Final = Struct("<II")
SEGMENT: Final = re.compile(r"(\d{1,9})x(\d{1,6})-[0-9a-f]{32}\.segment")
# Vectors of this format and of the earlier one, also in files that were set aside.
_CACHE: Final = re.compile(rf"(vectors.*\.sqlite|{SEGMENT.pattern}).*")


def holds_cache(folder: str) -> bool:
    """Return whether a folder holds a cache. A `VectorCache` would close any other folder to other users."""
    return any(_CACHE.fullmatch(each.name) for each in Path(folder).glob("*"))


def _read_segment(path: Path) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield key, dimension and unchecked record of each vector; nothing if the keys are damaged.

    `OSError` if it is gone or cannot be read.
    """
    rows, dimension = _shape(path.name)
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        keys = file.read(rows * KEY_BYTES)
        if head == _HEAD.pack(_MAGIC, rows, dimension, crc32(keys, crc32(_SHAPE.pack(rows, dimension)))):
            for place in range(0, len(keys), KEY_BYTES):
                yield keys[place : place + KEY_BYTES], dimension, file.read(4 * dimension + CHECK_BYTES)


def _shape(name: str) -> tuple[int, int]:
    """Return rows and dimension of a segment, by its name."""
    found = SEGMENT.fullmatch(name)
    assert found is not None
    return int(found[1]), int(found[2])
