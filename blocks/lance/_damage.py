"""Turn failures of LanceDB into errors that name their cause: rights, a full disk, a newer format, or damage.

LanceDB reports most failures as one type, with paths of its own source code in the message. An error for damage names
the damaged files.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from prefect_ollama.blocks.errors import PrefectOllamaError, TableDamaged, TableError
from prefect_ollama.blocks.lance._error_text import short, without_source
from prefect_ollama.blocks.lance._failure_kind import kind_of
from prefect_ollama.blocks.lance.spec import StoreSpec
from prefect_ollama.blocks.secrets import safe_cause

# The state in errors that are raised before anything is written.
UNCHANGED: Final = "Nothing was changed."

# Maximum number of files, sources or tables that an error lists.
MAX_NAMES: Final = 3

# The last bytes of every file of rows, of an index and of a version (https://lance.org/format/file/).
_MAGIC: Final = b"LANC"

_AT_PATH: Final = re.compile(r' at path "([^"]+)"')
_INDEX_REMEDY: Final = (
    "Only an index is damaged: run `maintain` with *Force* (`--force`), which builds it again."
)
_MISSING_FILE: Final = re.compile(r"not found: (.+\.(?:lance|manifest|idx|arrow|bin))\b", re.IGNORECASE)


def failure(
    what: str, error: BaseException, spec: StoreSpec | None, *, state: str = UNCHANGED, remedy: str = ""
) -> TableError:
    """Return the error for a failure, with its cause and remedy.

    Args:
        what: The failed operation, a sentence without a full stop ("Table 'x' cannot be opened").
        error: The error of LanceDB.
        spec: The table; None if unknown.
        state: The state after the failure.
        remedy: The next step for a cause that is not known here.
    """
    kind = kind_of(error)
    if kind == "damaged" and spec is not None:
        return damaged(spec, f"{what}: {_damage(spec, error)}", state=state)
    place = "" if spec is None else f" {spec.uri!r}"
    # LanceDB also writes to the folder for temporary files, which only its message names.
    at = _AT_PATH.search(str(error))
    if at and (spec is None or not Path(at[1]).is_relative_to(spec.uri)):
        place = f" {str(Path(at[1]).parent)!r}"
    causes = {  # with the same remedy in each operation
        "rights": (
            f"the store refuses access ({short(error)})",
            f"Check the credentials, and give them the right to read and write{place}",
        )
        if spec is not None and spec.remote
        else (
            "the user of this process has no right to (permission denied)",
            f"Give it the right to read and write{place and f'{place} and its files'}",
        ),
        "links": (
            "the file system has no hard links, as exFAT, some network shares and mounts of object stores",
            "Use a folder on another file system, or the URI of the object store (s3://…)",
        ),
        "files": (
            "too many files are open",
            "Raise the limit of the process (`ulimit -n`), or run `maintain`, which merges the table's files",
        ),
        "full": (
            "the disk is full, or a quota or size limit is reached",
            f"Make free space{place and f' in{place}'}",
        ),
        "read-only": (
            "the file system is read-only",
            f"Mount it with the right to write{place and f', for{place}'}, or name another folder",
        ),
        "disk": (
            f"its disk, or the server of its share, fails ({short(error)})",
            f"Check the disk, or mount the share again{place and f', for{place}'}",
        ),
        "newer": ("a newer version of LanceDB wrote it", "Upgrade prefect-ollama and lancedb"),
    }
    if kind in causes:
        why, cure = causes[kind]
        return TableError(f"{what}: {why}.", state=state, remedy=f"{cure}, then run it again.")
    return TableError(f"{what}: {short(error)}.", state=state, remedy=remedy)


def damaged(spec: StoreSpec, cause: str, *, state: str = UNCHANGED) -> TableDamaged:
    """Return the error of a damaged table, with the ways to recover."""
    return TableDamaged(
        f"{cause}. Table {spec.table!r} in {spec.uri!r} is damaged.",
        state=state,
        remedy=_INDEX_REMEDY if "_indices" in cause else _recovery(spec),
    )


@contextmanager
def explained(spec: StoreSpec, what: str) -> Iterator[None]:
    """Turn a failure of LanceDB in this context into a `TableError` with its cause (see `failure`)."""
    try:
        yield
    except PrefectOllamaError:
        raise
    except (RuntimeError, OSError, ValueError, pa.ArrowException) as error:
        # Errors of other libraries are faults of this program, and keep their traceback.
        if kind_of(error) == "other" and "lance" not in str(error).lower():
            raise
        raise failure(
            what, error, spec, remedy="Check the place of the table and the storage options."
        ) from safe_cause(error)


def refuse_incomplete(spec: StoreSpec, chunks: Any | None, documents: Any | None, runs: Any | None) -> None:
    """Raise an error if some of the three tables of a store are lost.

    If all three tables are missing, there is no damage. They are created in the order runs, documents, chunks, and no
    run is logged before all exist. So a creation that was killed can be distinguished from a table that lost a part.

    Raises:
        TableDamaged: A part is lost.
    """
    tables = {spec.table: chunks, spec.documents_table: documents, spec.runs_table: runs}
    lost = [name for name, table in tables.items() if table is None]
    if not lost:
        return
    with explained(spec, f"Table {spec.table!r} cannot be read"):
        filled = any(table is not None and table.count_rows() for table in (documents, runs))
    remains = [name for name in lost if _rows_left(spec, name)]
    if chunks is not None or filled or remains:
        parts = {
            spec.table: "its passages",
            spec.documents_table: "its manifest",
            spec.runs_table: "its log of runs",
        }
        parts_lost = "; ".join(
            f"{parts[name]} ({name}.lance) {'have files, but no version' if name in remains else 'cannot be found'}"
            for name in lost
        )
        raise damaged(spec, f"A part is lost: {parts_lost}")


def first_names(names: Sequence[str]) -> str:
    """Return the first names, for an error."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(map(repr, names[:MAX_NAMES])) + more


def _damage(spec: StoreSpec, error: BaseException) -> str:
    """Return the damaged files: the one that the error names, or those that are damaged on the disk."""
    found = _MISSING_FILE.search(without_source(str(error)))
    if found:
        path = Path("/", found[1])
        inside = (
            path.relative_to(spec.uri) if not spec.remote and path.is_relative_to(spec.uri) else path.name
        )
        return (
            f"the file {str(inside)!r} is missing"
            if spec.remote or not path.exists()
            else f"{str(inside)!r} cannot be read"
        )
    broken = cut_files(spec)
    if broken:
        return f"{first_names(broken)} {'is' if len(broken) == 1 else 'are'} cut short, or no file of a table"
    return short(error)


def cut_files(spec: StoreSpec) -> list[str]:
    """Return the files of a local table that do not end as they must, by path within the database."""
    broken = []
    for name in () if spec.remote else spec.tables:
        folder = Path(spec.uri, f"{name}.lance")
        if folder.is_file():
            broken.append(folder.name)
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".lance", ".manifest") and path.is_file() and not _ends_well(path):
                broken.append(str(path.relative_to(spec.uri)))
    return broken


def _ends_well(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(-len(_MAGIC), os.SEEK_END)
            return file.read() == _MAGIC
    except OSError:
        return False


def _rows_left(spec: StoreSpec, name: str) -> bool:
    """Return whether files of rows are left of a local table that cannot be found."""
    folder = Path(spec.uri, f"{name}.lance")
    return not spec.remote and (folder.is_file() or any(folder.glob("data/*.lance")))


def _recovery(spec: StoreSpec) -> str:
    import lancedb

    sources: list[str] = []
    for name in (spec.documents_table, spec.runs_table):
        with suppress(Exception):  # the log of runs may be damaged too
            table = lancedb.connect(spec.uri, storage_options=spec.options or None).open_table(name)
            found = set(table.search().select(["source"]).to_arrow()["source"].to_pylist())
            sources = sources or sorted(found - {""})
    folders = ", ".join(f"{name}.lance" for name in spec.tables)
    again = f"its sources again ({first_names(sources)})" if sources else "its sources again"
    return (
        f"Restore the folder from a backup; or move {folders} out of it and ingest {again}. Vectors come from the "
        "cache, so few texts are embedded again."
    )
