"""The SQL of the cache: find, insert and evict records. Each function works within a transaction of its caller.

Records have ascending ids, so SQLite fills its pages in order, and records that were put together are stored together.
`BLOCK_RECORDS` of them are one block, which has one time of last use and is evicted as a whole. A time for each record
would cost a write for each read.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

# Some 0.8 MB of 768 floats: few enough that an eviction deletes little, and enough that few times of use are stored.
BLOCK_RECORDS: Final = 256

# Estimate of what SQLite keeps for a record besides its bytes: the index entry and the cell, with half-empty
# pages.
RECORD_OVERHEAD_BYTES: Final = 80

# Five records of 768 floats fit, with 6 % of waste; pages of 4 KiB waste 33 %, larger ones cost random reads
# more.
PAGE_BYTES: Final = 16384

# Memory for pages in each process. Four times as much made reads no faster (measured with 200,000 vectors).
PAGE_CACHE_KIB: Final = 8192

# AUTOINCREMENT never uses an id twice, so a block gets no records of another time. SQLite keeps the last id in
# `sqlite_sequence`, from which `insert` derives the blocks.
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS vectors (id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL,"
    " dimension INTEGER NOT NULL, record BLOB NOT NULL, UNIQUE (key, dimension))",
    "CREATE TABLE IF NOT EXISTS blocks (block INTEGER PRIMARY KEY, used INTEGER NOT NULL)",
)


# Records, and when the least and the most recently used block was used, in seconds since the epoch.
Usage = tuple[int, int | None, int | None]
NO_USAGE: Final[Usage] = (0, None, None)


class DamageError(Exception):
    """The content of the database is inconsistent."""


def prepare(connection: sqlite3.Connection) -> None:
    """Set the options of a new connection, and create the tables in an empty file; `DamageError` if one is missing."""
    # A damaged database may say that a blob is text, which need not be UTF-8.
    connection.text_factory = bytes
    # A damaged or forged file must not run code (`trusted_schema`) or crash the process (`cell_size_check`), as
    # https://www.sqlite.org/security.html advises. TRUNCATE saves the creation of a file for each transaction, and
    # FULL syncs it, so that it survives a power failure (https://www.sqlite.org/pragma.html).
    for pragma in (
        "trusted_schema = OFF",
        "cell_size_check = ON",
        "journal_mode = TRUNCATE",
        "synchronous = FULL",
        f"cache_size = -{PAGE_CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    # The pragma for auto_vacuum writes the first page by itself. A process that was killed after it, or has not gone
    # on yet, leaves a database without a table.
    if pages > 1 or (pages == 1 and connection.execute("SELECT 1 FROM sqlite_schema").fetchone()):
        names = {name for (name,) in connection.execute("SELECT CAST(name AS BLOB) FROM sqlite_schema")}
        if not {b"vectors", b"blocks"} <= names:
            raise DamageError("a table is missing")
        return
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    # This lets a lower limit and `clear` give pages back to the file system.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL").fetchall()
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute("COMMIT")


def find(
    connection: sqlite3.Connection, keys: Sequence[bytes], dimension: int
) -> list[tuple[int, object] | None]:
    """Return the id and the record of each key; None for a key without a record."""
    query = "SELECT id, record FROM vectors WHERE key = ? AND dimension = ?"
    return [connection.execute(query, (key, dimension)).fetchone() for key in keys]


def holds(connection: sqlite3.Connection, keys: Sequence[bytes], dimension: int) -> list[bool]:
    """Return for each key whether there is a record, without reading it."""
    query = "SELECT 1 FROM vectors WHERE key = ? AND dimension = ?"
    return [connection.execute(query, (key, dimension)).fetchone() is not None for key in keys]


def insert(
    connection: sqlite3.Connection,
    records: Iterable[tuple[bytes, bytes]],
    dimension: int,
    *,
    used: int,
    limit_bytes: int,
) -> None:
    """Insert those of the records whose key is new, and evict the least recently used ones to hold the limit.

    `used` is when they were last used, in seconds since the epoch, and `limit_bytes` the largest size of the file.
    """
    new = {key: record for key, record in records if not holds(connection, [key], dimension)[0]}
    if not new:
        return
    # Before the insertion, so that it takes the pages that become free and the file does not grow above the limit.
    evict(connection, limit_bytes, room=sum(len(record) + RECORD_OVERHEAD_BYTES for record in new.values()))
    last = _number(connection, "SELECT seq FROM sqlite_sequence WHERE name = 'vectors'")
    connection.executemany(
        "INSERT INTO vectors (key, dimension, record) VALUES (?, ?, ?)",
        ((key, dimension, record) for key, record in new.items()),
    )
    first, end = (last + 1) // BLOCK_RECORDS, (last + len(new)) // BLOCK_RECORDS
    connection.executemany(
        "INSERT INTO blocks (block, used) VALUES (?, ?)"
        " ON CONFLICT (block) DO UPDATE SET used = max(used, excluded.used)",
        ((block, used) for block in range(first, end + 1)),
    )
    evict(connection, limit_bytes)


def evict(connection: sqlite3.Connection, limit_bytes: int, *, room: int = 0) -> None:
    """Delete the least recently used blocks until the file is `room` bytes below the limit."""
    budget = limit_bytes // PAGE_BYTES
    wanted = min(-(-room // PAGE_BYTES), budget)
    while _pages(connection) + wanted > budget:
        oldest = connection.execute("SELECT block FROM blocks ORDER BY used, block LIMIT 1").fetchone()
        if oldest is None:
            break
        first = oldest[0] * BLOCK_RECORDS
        connection.execute("DELETE FROM vectors WHERE id >= ? AND id < ?", (first, first + BLOCK_RECORDS))
        connection.execute("DELETE FROM blocks WHERE block = ?", oldest)
    if _number(connection, "PRAGMA page_count") > budget:
        shrink(connection)


def drop(connection: sqlite3.Connection, damaged: Iterable[tuple[int, bytes]], dimension: int) -> None:
    """Delete damaged records, by id and key. If the index names a record of another key, raise `DamageError`."""
    for number, key in damaged:
        row = connection.execute("SELECT key, dimension FROM vectors WHERE id = ?", (number,)).fetchone()
        found = connection.execute(
            "SELECT id FROM vectors WHERE key = ? AND dimension = ?", (key, dimension)
        ).fetchone()
        if found != (number,):
            continue  # another process was here before
        if row != (key, dimension):
            raise DamageError("the index and the records do not match")
        connection.execute("DELETE FROM vectors WHERE id = ?", (number,))


def mark_used(connection: sqlite3.Connection, blocks: Iterable[int], used: int) -> None:
    """Note when blocks were last used, in seconds since the epoch."""
    connection.executemany(
        "UPDATE blocks SET used = ? WHERE block = ? AND used < ?", ((used, block, used) for block in blocks)
    )


def clear(connection: sqlite3.Connection) -> None:
    """Delete all records; the file keeps some pages for the empty tables."""
    connection.execute("DELETE FROM vectors")
    connection.execute("DELETE FROM blocks")
    shrink(connection)


def shrink(connection: sqlite3.Connection) -> None:
    """Give the free pages back to the file system."""
    for _ in range(_number(connection, "PRAGMA freelist_count")):
        # Each step of the statement gives back one page, and without `fetchall` there is only one step.
        connection.execute("PRAGMA incremental_vacuum").fetchall()


def usage(connection: sqlite3.Connection) -> Usage:
    """Return how many records there are and when they were used."""
    entries = _number(connection, "SELECT count(*) FROM vectors")
    return (entries, *connection.execute("SELECT min(used), max(used) FROM blocks").fetchone())


def everything(connection: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    """Yield `key, dimension, record` of the readable rows of a damaged database.

    Reading goes on from both ends until an error; the rows between are lost.
    """
    for order in ("ASC", "DESC"):
        try:
            yield from connection.execute(f"SELECT key, dimension, record FROM vectors ORDER BY id {order}")
        except (sqlite3.Error, OverflowError):
            continue
        break


def _pages(connection: sqlite3.Connection) -> int:
    return _number(connection, "PRAGMA page_count") - _number(connection, "PRAGMA freelist_count")


def _number(connection: sqlite3.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    value = 0 if row is None else row[0]
    if not isinstance(value, int):
        raise DamageError("a number is missing")
    return value


def now() -> int:
    """Return the time in whole seconds since the epoch."""
    return int(time.time())
