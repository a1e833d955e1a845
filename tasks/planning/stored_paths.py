"""How a table writes sources and paths, and which documents of a table a user means by them.

The id of a document is made of its source and its path. Files of documents need not be there any more.
"""

import glob
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from prefect_ollama.blocks.documents import Document, Hit
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.blocks.user_path import with_home

# Source name of files that were named one by one; their path is the absolute one.
LISTED = "files"


# 16 bytes: among a billion documents the chance of one collision is below 10^-20.
def document_id(source: str, path: str) -> str:
    """Key of a document: the same for the same path of the same source."""
    return hashlib.blake2b(f"{source}\0{path}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


# A name that holds such text itself is escaped as well, so that each name in the table is unambiguous.
_LOOKS_ESCAPED = re.compile(r"\\x[0-9a-f]{2}")
# What `readable` writes for bytes that are no UTF-8, and for its own backslash.
_ESCAPES = re.compile(rb"\\\\|\\x[0-9a-f]{2}")
# Surrogates that stand for no byte. No file has them in its name, but a program can ask for such a name.
_NO_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def readable(text: str) -> str:
    r"""Return the text with bytes that are no UTF-8, which neither a table nor JSON can hold, written as `\xff`.

    Two texts never become one, since documents are known by them. So where a text needs this, or looks as if it had
    been through it, each of its own backslashes is doubled.
    """
    if _LOOKS_ESCAPED.search(text) or any("\ud800" <= character <= "\udfff" for character in text):
        text = text.replace("\\", "\\\\")
    text = _NO_BYTE.sub(lambda found: os.fsdecode(found[0].encode("utf-8", "surrogatepass")), text)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def unreadable(text: str) -> str:
    """Return the text that `readable` was given: bytes that are no UTF-8 as lone surrogates."""
    if not _LOOKS_ESCAPED.search(text):
        return text
    raw = _ESCAPES.sub(lambda found: _unescaped(found[0]), text.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")


def _unescaped(escape: bytes) -> bytes:
    return b"\\" if escape == b"\\\\" else bytes([int(escape[2:], 16)])


def source_name(folder: Path) -> str:
    """Name of the source that a folder is."""
    return readable(str(folder.resolve()))


# Sources that an error or a note lists, so that it stays readable for a table of hundreds.
MAX_SOURCES = 5


def location_of(row: Document | Hit) -> str:
    """Absolute path of a document's file, as the table knows it."""
    return row.path if row.source == LISTED else f"{row.source.rstrip('/')}/{row.path}"


def is_gone(path: Path) -> bool:
    """Return whether the system says that a file is gone, and not that it cannot tell, as of a share that fails."""
    try:
        path.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False


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
        manifest = of_source(source, manifest)
    found: dict[str, Document] = {}
    for name in what:
        # An empty name would be a folder above all files.
        rows = _meant(name, manifest) if name else []
        if not rows:
            among = f" of source {source!r}" if source is not None else ""
            raise ConfigurationError(
                f"The table has no document{among} that {name!r} names.",
                state="Nothing was changed.",
                remedy=f"It has documents of {listed(sources)}." if sources else "It has no documents.",
            )
        found |= {row.doc_id: row for row in rows}
    return sorted(found.values(), key=lambda row: (row.source, row.path))


def listed(sources: Sequence[str]) -> str:
    """Return sources as text, the first few."""
    more = f" and {quantity(len(sources) - MAX_SOURCES, 'more source')}" if len(sources) > MAX_SOURCES else ""
    return ", ".join(map(named, sources[:MAX_SOURCES])) + more


def named(source: str) -> str:
    """Return a source as text."""
    return "single files ('files')" if source == LISTED else repr(source)


def of_source(source: str, rows: Sequence[Document]) -> list[Document]:
    """Return the documents of a source, in any of the ways in which a user may write its name."""
    forms = path_forms(source)
    same = {composed(form) for form in forms}
    return [row for row in rows if row.source in forms] or [r for r in rows if composed(r.source) in same]


def composed(name: str) -> str:
    """Return a name with composed letters (NFC). macOS and some shares decompose them, and keyboards do not."""
    return unicodedata.normalize("NFC", name)


def _meant(name: str, manifest: Sequence[Document]) -> list[Document]:
    found = _written(name, manifest)
    if found or name.isascii():
        return found
    alike = [replace(row, source=composed(row.source), path=composed(row.path)) for row in manifest]
    ids = {row.doc_id for row in _written(composed(name), alike)}
    return [row for row in manifest if row.doc_id in ids]


def _written(name: str, manifest: Sequence[Document]) -> list[Document]:
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
