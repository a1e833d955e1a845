"""A source: the files that a user means by a folder, a glob pattern or a list.

Every entry that looks like a document is found, also those that can't be read; these are refused later by
name and reason. Nothing is opened here but folders.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance import FAILED, Document

SUFFIX = ".pdf"
LISTED = "files"
"""Source name of files that were named one by one; their path is the absolute one."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file as the scan saw it.

    Attributes:
        location: Absolute path.
        path: Path within its source, with `/`; bytes that are no UTF-8 stand in it as `\\xff`.
        size: Bytes.
        mtime_ns: Time of the last change, in nanoseconds since 1970.
    """

    location: str
    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Source:
    """What was found.

    Attributes:
        name: The folder's absolute path, or `LISTED`. Documents of one name belong together.
        whole: Whether all of the folder was looked at, so that what is not among the files has vanished.
        files: The files, by path.
        refused: Entries that can't be documents, as manifest rows with kind, reason and remedy.
    """

    name: str
    whole: bool
    files: tuple[SourceFile, ...]
    refused: tuple[Document, ...] = ()


def document_id(source: str, path: str) -> str:
    """Key of a document: the same for the same path of the same source."""
    return hashlib.blake2b(f"{source}\0{path}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def readable(text: str) -> str:
    """The text with bytes that are no UTF-8, which neither a table nor JSON can hold, written as `\\xff`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def source_name(folder: Path) -> str:
    """Name of the source that a folder is."""
    return readable(str(folder.resolve()))


def hash_file(path: str | Path) -> str:
    """BLAKE2b-256 of a file's bytes, as hex digits.

    Raises:
        OSError: It cannot be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def find_files(source: str | Path | Sequence[str | Path]) -> Source:
    """Find the documents of a source.

    Args:
        source: A folder (searched with all its folders), a glob pattern (`**` reaches into folders), one
            file, or a list of files.

    Raises:
        ConfigurationError: The folder is not there, a pattern matches nothing, or a list is empty.
    """
    if not isinstance(source, str | Path):
        return _listed([Path(each) for each in source])
    path = Path(source).expanduser()
    if path.is_dir():
        root = path.resolve()
        if not os.access(root, os.R_OK | os.X_OK):
            raise ConfigurationError(
                f"The folder {str(path)!r} cannot be read.",
                state="Nothing was changed.",
                remedy="Give the user that runs the flow the right to read it.",
            )
        return _gathered(root, _walk(root), whole=True)
    if path.exists() or path.is_symlink():
        return _listed([path])
    if glob.has_magic(str(path)):
        before = list(_before_magic(path))
        fixed = Path(*before).absolute()
        if not fixed.is_dir():
            raise _missing(fixed)
        root = fixed.resolve()
        found = root.glob("/".join(path.parts[len(before) :]))
        wanted = sorted({each for each in found if each.suffix.lower() == SUFFIX})
        if not wanted:
            raise ConfigurationError(
                f"No PDF fits the pattern {str(path)!r}.",
                state="Nothing was changed.",
                remedy="Check the pattern; `**` stands for any number of folders.",
            )
        return _gathered(root, ((each, None) for each in wanted), whole=False)
    raise _missing(path)


def _missing(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{str(path)!r} is not there.",
        state="Nothing was changed.",
        remedy="Check the path, and that its disk or share is mounted.",
    )


def _before_magic(path: Path) -> Iterator[str]:
    for part in path.parts:
        if glob.has_magic(part):
            return
        yield part


def _walk(root: Path) -> Iterator[tuple[Path, OSError | None]]:
    """Entries that look like documents, and folders that can't be read."""
    errors: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=errors.append):
        documents = [name for name in (*names, *folders) if name.lower().endswith(SUFFIX)]
        folders[:] = sorted(n for n in folders if not n.startswith(".") and not n.lower().endswith(SUFFIX))
        for name in sorted(documents):
            if not name.startswith("."):
                yield Path(folder, name), None
        while errors:
            yield Path(errors[0].filename), errors.pop(0)
    for error in errors:
        yield Path(error.filename), error


def _gathered(root: Path, found: Iterator[tuple[Path, OSError | None]], *, whole: bool) -> Source:
    files: list[SourceFile] = []
    refused: list[Document] = []
    name = source_name(root)
    for location, error in found:
        path = readable(location.relative_to(root).as_posix())
        try:
            if error is not None:
                raise error
            stat = location.stat()  # before the link is followed by name, which never ends in a loop of links
            if location.is_symlink() and not location.resolve().is_relative_to(root):
                refused.append(
                    _refusal(
                        name,
                        path,
                        "outside",
                        "it is a link to a file outside of the source.",
                        "Copy the file into the source, or name its own folder as a source.",
                    )
                )
                continue
        except OSError as failed:
            refused.append(
                _refusal(
                    name,
                    path,
                    "unreadable",
                    f"it cannot be looked at ({failed.strerror or failed}).",
                    "Give the user that runs the flow the right to read it, or mend the link.",
                )
            )
            continue
        files.append(SourceFile(str(location), path, stat.st_size, stat.st_mtime_ns))
    return Source(name, whole, tuple(sorted(files, key=lambda f: f.path)), tuple(refused))


def _listed(paths: Sequence[Path]) -> Source:
    if not paths:
        raise ConfigurationError("The list of files is empty.", remedy="Name at least one file or a folder.")
    files: dict[str, SourceFile] = {}
    refused: list[Document] = []
    seen: set[str] = set()
    for each in paths:
        location = each.expanduser().absolute()
        path = readable(location.as_posix())
        if path in seen:
            continue
        seen.add(path)
        try:
            stat = location.stat()
        except OSError as failed:
            reason = f"it cannot be looked at ({failed.strerror or failed})."
            refused.append(_refusal(LISTED, path, "unreadable", reason, "Check the path."))
            continue
        if location.is_dir():
            refused.append(
                _refusal(
                    LISTED,
                    path,
                    "not-a-file",
                    "it is a folder in a list of files.",
                    "Name the folder alone, in a run of its own.",
                )
            )
            continue
        files[path] = SourceFile(str(location), path, stat.st_size, stat.st_mtime_ns)
    return Source(LISTED, False, tuple(files.values()), tuple(refused))


def _refusal(source: str, path: str, kind: str, reason: str, remedy: str) -> Document:
    return Document(
        document_id(source, path),
        source,
        path,
        FAILED,
        kind=kind,
        reason=f"{path!r}: {reason}",
        remedy=remedy,
    )
