"""Sound vectors of other files, moved into the database: of a damaged one, and of caches of the earlier format."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from prefect_ollama.blocks.cache import _records
from prefect_ollama.blocks.cache import _segments as segments
from prefect_ollama.blocks.cache import _table as table
from prefect_ollama.blocks.cache._folder import Folder
from prefect_ollama.blocks.errors import CacheError
from prefect_ollama.blocks.quantity import quantity

logger = logging.getLogger(__name__)

# Records in one transaction of a conversion: 1.5 MB of 768 floats, so that others get their turn.
BATCH: Final = 512

# Stores key and record of vectors, given their dimension and when they were last used (None: now).
Insert = Callable[[Sequence[tuple[bytes, bytes]], int, int | None], None]


class Salvage:
    """Moves the sound vectors of files into the cache of their folder."""

    def __init__(self, folder: Folder, insert: Insert) -> None:
        self._folder = folder
        self._insert = insert

    def rescue(self, aside: Path, why: str) -> None:
        """Copy the sound vectors of a damaged database into the new one."""
        kept = 0
        try:
            for rows in _read_damaged(aside, BATCH):
                kept += self._insert_sound(rows)
        except (CacheError, sqlite3.Error, OSError) as error:
            logger.debug("reading %s ended: %s", aside, error)
        logger.warning(
            "The database of the vector cache is damaged: %s. It was set aside as %s; %d of its vectors were kept, the "
            "others count as missing.",
            why,
            aside,
            kept,
        )

    def convert(self) -> None:
        """Move the vectors of segments into the database."""
        times = {name: int(stat.st_mtime) for name, stat in self._folder.ours(segments.NAME).items()}
        logger.info(
            "Converting %s of the vector cache %s.", quantity(len(times), "file"), self._folder.spec.folder
        )
        # The most recently used vectors are stored last, so that they stay if there is no room for all.
        for name in sorted(times, key=times.__getitem__):
            path, kept = self._folder.path(name), 0
            try:
                for rows in segments.read(path, BATCH):
                    kept += self._insert_sound(rows, used=times[name])
                path.unlink()
            except OSError as error:
                logger.warning("%s cannot be converted and counts as missing: %s.", path, error)
                continue
            if kept < (rows_written := segments.shape(name)[0]):
                logger.warning("%s is damaged; vectors kept: %d of %d.", path, kept, rows_written)

    def _insert_sound(self, rows: Iterable[tuple[Any, ...]], used: int | None = None) -> int:
        """Insert the rows whose checksum is right, and return how many. A row is key, dimension and record."""
        kept = 0
        # A damaged database may return any type and value.
        usable = [row for row in rows if isinstance(row[0], bytes) and row[1] in range(1, 1_000_000)]
        for dimension, group in groupby(usable, key=lambda row: int(row[1])):
            part = list(group)
            sound, _ = _records.unpack([row[0] for row in part], [row[2] for row in part], dimension)
            good = [(row[0], row[2]) for row, is_sound in zip(part, sound, strict=True) if is_sound]
            kept += len(good)
            if good:
                self._insert(good, dimension, used)
        return kept


def _read_damaged(path: Path, batch: int) -> Any:
    """Yield `key, dimension, record` of what can be read of a damaged database, in batches."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        connection.text_factory = bytes
        yield from table.everything(connection, batch)
