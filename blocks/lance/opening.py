"""Open the three Lance tables of a store, at their latest version.

LanceDB is imported only when a table is opened, because its threads do not survive a fork: a process that has opened a
table must not fork.
"""

import errno
import os
import tempfile
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from prefect_ollama.blocks.errors import TableError, TableMissing
from prefect_ollama.blocks.lance import _import_lancedb
from prefect_ollama.blocks.lance._damage import (
    MAX_NAMES,
    UNCHANGED,
    explained,
    failure,
    first_names,
    refuse_incomplete,
)
from prefect_ollama.blocks.lance._schema import DOCUMENTS_VERSION, RUNS_VERSION, refuse_newer, stored_identity
from prefect_ollama.blocks.lance.spec import RESERVED, StoreSpec
from prefect_ollama.blocks.private_files import make_folder
from prefect_ollama.blocks.secrets import safe_cause

_CHECK_STORE: Final = (
    "Check the URI, and the credentials (storage options, or AWS_… variables) with their rights."
)
_OTHER_FOLDER: Final = "Check the path and the rights on it, or choose another folder."


def connect(spec: StoreSpec, *, fixed: bool = False) -> Any:
    """Return a LanceDB connection whose reads see every commit made before them.

    Args:
        fixed: Whether each table stays at the version that was the latest when it was opened.

    A folder that does not exist is made closed to other users, which LanceDB would not do. The rights of an existing
    folder stay, because its owner may share it.

    Raises:
        TableError: The place cannot be reached.
    """
    lancedb = _import_lancedb.load()
    try:
        if not spec.remote:
            if Path(spec.uri).is_file():
                raise TableError(
                    f"{spec.uri!r} is a file, and no folder that could hold tables.",
                    state=UNCHANGED,
                    remedy="Give the folder of the database.",
                )
            make_folder(Path(spec.uri))
        return lancedb.connect(
            spec.uri,
            storage_options=spec.options or None,
            read_consistency_interval=None if fixed else timedelta(0),
        )
    except TableError:
        raise
    except Exception as error:
        remedy = _CHECK_STORE if spec.remote else _OTHER_FOLDER
        raise failure(f"{spec.uri!r} cannot be opened", error, spec, remedy=remedy) from safe_cause(error)


def refuse_unwritable(spec: StoreSpec) -> None:
    """Refuse a folder in which no table can be made. What is made to find out is gone afterwards.

    Raises:
        TableError: The folder, or the nearest one above it, takes no new folder.
    """
    if spec.remote:
        return
    try:
        # Tried, because rights alone do not show a read-only or a virtual file system.
        above = next(each for each in (Path(spec.uri), *Path(spec.uri).parents) if each.exists())
        with tempfile.TemporaryDirectory(prefix=".", dir=above):
            return
    except OSError as error:
        # Without the table, which is not there yet and so cannot be damaged.
        known = spec if isinstance(error, PermissionError) else None
        raise failure(f"{spec.uri!r} cannot be made", error, known, remedy=_OTHER_FOLDER) from error


def open_table(connection: Any, spec: StoreSpec, name: str) -> Any | None:
    """Return the table of this name; None if it does not exist."""
    try:
        return connection.open_table(name)
    except Exception as error:
        if isinstance(error, (ValueError, FileNotFoundError)) and "not found" in str(error).lower():
            return None
        what = f"Table {name!r} in {spec.uri!r} cannot be opened"
        raise failure(what, error, spec, remedy="Check the storage options.") from safe_cause(error)


def open_tables(spec: StoreSpec) -> tuple[Any, Any, Any] | None:
    """Return the chunk table, the manifest and the log of runs; None if there is no such table (yet).

    Raises:
        TableDamaged: A part of it is lost or cannot be read.
        TableError: The place cannot be reached or read; or the table is not one of this project, or a later version
            wrote it.
    """
    if not spec.remote:
        # Checked here, so that the error names the folder.
        for folder in (spec.uri, *(f"{spec.uri}/{name}.lance/_versions" for name in spec.tables)):
            with explained(spec, f"{folder!r} cannot be read"):
                there = Path(folder).is_dir()
                if there and not os.access(folder, os.R_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, "Permission denied", folder)
            if folder == spec.uri and not there:  # connecting would create the folder
                return None
    connection = connect(spec)
    chunks, documents, runs = (open_table(connection, spec, name) for name in spec.tables)
    if chunks is not None:
        stored_identity(chunks.schema, spec.table)
    for table, known in ((documents, DOCUMENTS_VERSION), (runs, RUNS_VERSION)):
        if table is not None:
            refuse_newer(table.schema, known, table.name)
    refuse_incomplete(spec, chunks, documents, runs)
    return None if chunks is None or documents is None or runs is None else (chunks, documents, runs)


def missing_table(spec: StoreSpec) -> TableMissing:
    """Return the error for a table that does not exist, which names the tables that do."""
    found = "No table is there. Check the URI and the name"
    if not spec.remote and not Path(spec.uri).is_dir():  # connecting would create the folder
        what = "is a file" if Path(spec.uri).exists() else "is not there"
        found = f"The folder {what}. Check the URI and the name"
        if Path(f"{spec.uri}.lance").is_dir():  # A report names a table without the suffix of its folder.
            found = f"A table is in {f'{spec.uri}.lance'!r}. Name that"
    elif there := sorted(n for n in connect(spec).list_tables(limit=10_000).tables if RESERVED not in n):
        near = get_close_matches(spec.table, there, MAX_NAMES) or there
        found = f"Tables there: {first_names(near)}. Check the name"
    return TableMissing(
        f"There is no table {spec.table!r} in {spec.uri!r}.",
        remedy=f"{found}, or ingest something into it first.",
    )
