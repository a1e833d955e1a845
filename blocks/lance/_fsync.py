"""What was committed to a local table is on the disk, and not only with the operating system.

LanceDB (0.40) writes files, renames them into their place and syncs none. When the power failed, a version might be
there whose files are empty, and the table could not be read at all.
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
    """Sync, at the end, the files that came into the tables' folders meanwhile, whoever wrote them."""
    before = _files(spec)
    try:
        yield
    finally:
        new = _files(spec) - before
        # Versions last: none is there for good before what it consists of.
        for path in sorted(new, key=lambda path: path.parent.name == "_versions"):
            _sync(path)
        for folder in sorted(
            {parent for path in new for parent in path.parents if parent.is_relative_to(spec.uri)}
        ):
            _sync(folder)


def _files(spec: StoreSpec) -> set[Path]:
    if spec.remote:
        return set()
    tables = (spec.table, spec.documents_table, spec.runs_table)
    return {
        Path(folder, name)
        for table in tables
        for folder, _, names in os.walk(Path(spec.uri, f"{table}.lance"))
        for name in names
    }


def _sync(path: Path) -> None:
    # One that is gone again needs none; a file system that cannot sync is used at the user's risk.
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
