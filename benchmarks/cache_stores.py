"""Embedded stores with the records of the vector cache in them: SQLite with each journal and some page sizes, and LMDB.

Part of `benchmarks.cache --stores`. Records are packed and checked as the cache does it, and every batch is synced.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from rich.table import Table

from prefect_ollama.blocks.cache import records

Put = Callable[[list[bytes]], None]
Get = Callable[[list[bytes]], list[bytes]]


def compare(folder: Path, vectors: np.ndarray, entries: int) -> Table:
    """Fill each store with so many vectors, and read all of them at random."""
    table = Table("store", "written a CPU-s", "written a s", "read a CPU-s", "size / floats")
    for journal in ("wal", "truncate", "persist"):
        for page in (4096, 16384, 65536):
            path = folder / f"{journal}-{page}"
            path.mkdir()
            with closing(sqlite3.connect(path / "vectors", isolation_level=None)) as connection:
                put, get = _sqlite(connection, vectors, journal, page)
                figures = _measured(path, vectors, entries, put, get)
            table.add_row(f"SQLite, {journal}, pages of {page}", *figures)
    try:
        import lmdb  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return table
    path = folder / "lmdb"
    with closing(lmdb.open(str(path), map_size=4 << 30)) as environment:

        def put(keys: list[bytes]) -> None:
            with environment.begin(write=True) as transaction:
                for key, record in zip(keys, records.pack(keys, vectors), strict=True):
                    transaction.put(key, record, overwrite=False)

        def get(keys: list[bytes]) -> list[bytes]:
            with environment.begin() as transaction:
                return [transaction.get(key) for key in keys]

        table.add_row("LMDB", *_measured(path, vectors, entries, put, get))
    return table


def _sqlite(connection: sqlite3.Connection, vectors: np.ndarray, journal: str, page: int) -> tuple[Put, Get]:
    for pragma in (
        f"page_size = {page}",
        "auto_vacuum = INCREMENTAL",
        f"journal_mode = {journal}",
        "synchronous = FULL",
        "cache_size = -8192",
    ):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(
        "CREATE TABLE v (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, record BLOB NOT NULL)"
    )

    def put(keys: list[bytes]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT OR IGNORE INTO v (key, record) VALUES (?, ?)",
            zip(keys, records.pack(keys, vectors), strict=True),
        )
        connection.execute("COMMIT")

    def get(keys: list[bytes]) -> list[bytes]:
        connection.execute("BEGIN")
        query = "SELECT record FROM v WHERE key = ?"
        found = [connection.execute(query, (key,)).fetchone()[0] for key in keys]
        connection.execute("COMMIT")
        return found

    return put, get


def _measured(path: Path, vectors: np.ndarray, entries: int, put: Put, get: Get) -> tuple[str, ...]:
    batch, dimension = vectors.shape
    keys = [os.urandom(16) for _ in range(entries - entries % batch)]
    batches = range(0, len(keys), batch)
    busy, begun = time.process_time(), time.perf_counter()
    for first in batches:
        put(keys[first : first + batch])
    written = time.process_time() - busy, time.perf_counter() - begun
    order = np.random.default_rng(1).permutation(len(keys)).tolist()
    busy = time.process_time()
    for first in batches:
        wanted = [keys[at] for at in order[first : first + batch]]
        sound, _ = records.unpack(wanted, get(wanted), dimension)
        assert sound.all()
    read = time.process_time() - busy
    size = sum(512 * each.stat().st_blocks for each in path.iterdir())
    figures = (len(keys) / written[0], len(keys) / written[1], len(keys) / read)
    return (*(f"{each:,.0f}" for each in figures), f"{size / (4 * dimension * len(keys)):.2f}")
