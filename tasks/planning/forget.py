"""Which documents of a table a user means by a source, a path or a pattern; their files need not be there any more."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from prefect_ollama.blocks.documents import Document, Hit
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.file_url import with_home
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.planning.path_names import LISTED, readable, unreadable

# Sources that an error or a note lists, so that it stays readable for a table of hundreds.
MAX_SOURCES = 5


def location_of(row: Document | Hit) -> str:
    """Absolute path of a document's file, as the table knows it."""
    return row.path if row.source == LISTED else f"{row.source.rstrip('/')}/{row.path}"


def file_of(row: Document | Hit) -> Path:
    """Return the file of a document; it need not be there."""
    file = Path(location_of(row))
    return file if file.exists() else Path(unreadable(str(file)))


def documents_named(
    what: Iterable[str], manifest: Sequence[Document], *, source: str | None = None
) -> list[Document]:
    """Return the documents that a user means.

    Each name is, in this order and as far as the table has such documents: a source, as reports name it (`files` for
    those that were named one by one); the path of a document, absolute, relative to the working folder or within its
    source; a folder, for all documents below it; a glob pattern over absolute paths, or over paths within a source.

    Args:
        what: The names.
        manifest: The table's documents.
        source: Only documents of this source.

    Raises:
        ConfigurationError: The table has no document of a name.
    """
    sources = sorted({row.source for row in manifest})
    if source is not None:
        wanted = path_forms(source)
        manifest = [row for row in manifest if row.source in wanted]
    found: dict[str, Document] = {}
    for name in what:
        rows = _meant(name, manifest)
        if not rows:
            among = f" of source {source!r}" if source is not None else ""
            raise ConfigurationError(
                f"The table has no document{among} that {name!r} names.",
                state="Nothing was changed.",
                remedy=f"It has documents of {listed(sources)}." if sources else "It has no documents.",
            )
        found |= {row.doc_id: row for row in rows}
    return sorted(found.values(), key=lambda row: (row.source, row.path))


def notes_on(documents: Sequence[Document], manifest: Sequence[Document]) -> list[str]:
    """Return what a user should know before these documents are taken out, a sentence or two each."""
    notes = []
    returning = Counter(
        row.source for row in documents if row.source != LISTED and Path(location_of(row)).exists()
    )
    for source, count in sorted(returning.items()):
        notes.append(
            f"{count} of the files are still in {source!r}. The next ingest of it stores them again; move or delete "
            "them first to keep them out."
        )
    sources = {row.source for row in documents}
    below = Counter(
        row.source
        for row in manifest
        if row.source not in sources and any(location_of(row).startswith(f"{source}/") for source in sources)
    )
    for source, count in sorted(below.items()):
        notes.append(
            f"{quantity(count, 'document')} below the same folder, of another source, {named(source)}, "
            "will stay."
        )
    return notes


def listed(sources: Sequence[str]) -> str:
    """Return sources as text, the first few."""
    more = f" and {quantity(len(sources) - MAX_SOURCES, 'more source')}" if len(sources) > MAX_SOURCES else ""
    return ", ".join(map(named, sources[:MAX_SOURCES])) + more


def named(source: str) -> str:
    """Return a source as text."""
    return "single files ('files')" if source == LISTED else repr(source)


def _meant(name: str, manifest: Sequence[Document]) -> list[Document]:
    forms = path_forms(name)
    # From the most exact meaning to the widest, so that a source is never taken for a folder above it.
    whole = [row for row in manifest if row.source in forms]
    if whole:
        return whole
    single = [row for row in manifest if location_of(row) in forms or row.path == name]
    if single:
        return single
    folders = tuple(f"{form.rstrip('/')}/" for form in forms)
    inside = [row for row in manifest if location_of(row).startswith(folders) or row.path.startswith(folders)]
    if inside or not glob.has_magic(name):
        return inside
    patterns = [form.split("/") for form in forms]
    return [
        row
        for row in manifest
        if any(
            _matches_pattern(path.split("/"), pattern)
            for path in (location_of(row), row.path)
            for pattern in patterns
        )
    ]


def path_forms(name: str) -> set[str]:
    """Return the ways in which the table may hold a path, as a user or a report writes it."""
    path = with_home(name)
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError, ValueError):  # such as a loop of links, or a NUL in the name
        resolved = path.absolute()
    written = (name, name.rstrip("/") or name, str(path.absolute()), str(resolved))
    return {name, *map(readable, written)}


def _matches_pattern(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether a path fits a pattern, both by folder; `**` stands for any number of folders."""
    # Numbers of folders that the pattern so far may stand for. To try them one by one takes exponential time.
    reached = {0}
    for each in pattern:
        if each == "**":
            reached = set(range(min(reached), len(parts) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(parts) and fnmatchcase(parts[at], each)}
        if not reached:
            return False
    return len(parts) in reached
