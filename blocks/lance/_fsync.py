"""Sync the commits of a local table to the disk.

LanceDB (0.40) writes files, renames them into their place and syncs none of them. After a power failure, a version
could exist whose files are empty, and the whole table could not be read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect_ollama.blocks.lance.spec import StoreSpec


@contextmanager
def fsynced(spec: StoreSpec) -> Iterator[None]:
    """Sync, at the end, all files that appeared in the tables' folders meanwhile, also those of other writers."""
    before = _files(spec)
    try:
        yield
    finally:
        new = _files(spec) - before
        # Versions last: a version must not be on the disk before its files are.
        for path in sorted(new, key=lambda path: path.parent.name == "_versions"):
            _sync(path)
        # A new file survives a power failure only if its folder is synced too (fsync(2)).
        for folder in sorted(
            {parent for path in new for parent in path.parents if parent.is_relative_to(spec.uri)}
        ):
            _sync(folder)


def _files(spec: StoreSpec) -> set[Path]:
    if spec.remote:
        return set()
    return {
        Path(folder, name)
        for table in spec.tables
        for folder, _, names in os.walk(Path(spec.uri, f"{table}.lance"))
        for name in names
    }


def _sync(path: Path) -> None:
    # A file that is gone again needs no sync; a file system that cannot sync is the user's choice.
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
