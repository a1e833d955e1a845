"""A source: the files that a user means by a folder, a glob pattern or a list.

Every entry that looks like a document is found, also those that can't be read; these are refused later by
name and reason. Hidden files, files that an `exclude` pattern fits, and files that a link takes out of the source are
not. Nothing is opened here but folders.
"""

import errno
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from pathlib import Path

from prefect_ollama.blocks.documents import FAILED, Document
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.user_path import with_home
from prefect_ollama.tasks.parsing import REMEDIES
from prefect_ollama.tasks.planning._walk import SUFFIXES, Excluded, excluded_by, walk
from prefect_ollama.tasks.planning.open_beneath import opened_beneath
from prefect_ollama.tasks.planning.stored_paths import LISTED, document_id, readable, source_name


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file as the scan saw it.

    Attributes:
        location: Absolute path.
        path: Path within its source, with `/`; bytes that are no UTF-8 stand in it as `\\xff` (see `readable`).
        size: Bytes.
        mtime_ns: Time of the last change, in nanoseconds since 1970.
        root: Folder beneath which it is opened; empty for the one that `location` is in.
        inside: Path from there to the file, links resolved; empty for the name that `location` ends in.
    """

    location: str
    path: str
    size: int
    mtime_ns: int
    root: str = ""
    inside: str = ""

    def opened(self) -> AbstractContextManager[int]:
        """Open the file once, as `opened_beneath` does, and yield its descriptor."""
        location = Path(self.location)
        return opened_beneath(self.root or location.parent, self.inside or location.name)


@dataclass(frozen=True, slots=True)
class Source:
    """What was found.

    Attributes:
        name: The folder's absolute path, or `LISTED`. Documents of one name belong together.
        whole: Whether the whole folder was read, so that documents without a file here have vanished.
        files: The files, by path.
        refused: Entries that can't be documents, as manifest rows with kind, reason and remedy.
    """

    name: str
    whole: bool
    files: tuple[SourceFile, ...]
    refused: tuple[Document, ...] = ()


def find_files(source: str | Path | Sequence[str | Path], exclude: Sequence[str] = ()) -> Source:
    """Find the documents of a source.

    Args:
        source: A folder (searched with all its folders), a glob pattern (`**` reaches into folders), one
            file, or a list of files.
        exclude: Patterns of files and folders to leave out, as in a `.gitignore`, from the source's folder on; for
            files that are named one by one, from the root of the file system on.

    Raises:
        ConfigurationError: The folder is not there or cannot be read, a pattern matches nothing or cannot be read, or a
            list is empty.
    """
    excluded = excluded_by(exclude)
    if not isinstance(source, str | Path):
        return _listed([Path(each) for each in source], excluded)
    try:
        return _found(with_home(source), excluded)
    except OSError as error:
        raise ConfigurationError(
            f"{str(source)!r} cannot be read ({error.strerror or error}).",
            state="Nothing was changed.",
            remedy="Check the path, the rights on it, and that its disk or share is mounted.",
        ) from error


def _found(path: Path, excluded: Excluded) -> Source:
    _refuse_absent(path)
    if path.is_dir():
        root = path.resolve()
        if not os.access(root, os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return _gathered(root, walk(root, excluded), whole=True)
    if path.exists() or path.is_symlink():
        return _listed([path], excluded)
    root = _before_pattern(path).resolve()
    found = root.glob("/".join(dropwhile(lambda part: not glob.has_magic(part), path.parts)))
    wanted = sorted({each for each in found if each.suffix.lower() in SUFFIXES and not _hidden(each, root)})
    if not wanted:
        raise ConfigurationError(
            f"No PDF matches the pattern {str(path)!r}.",
            state="Nothing was changed.",
            remedy="Check the pattern; `**` stands for any number of folders. Hidden files are left out.",
        )
    kept = [each for each in wanted if not excluded(each.relative_to(root).as_posix())]
    return _gathered(root, ((each, None) for each in kept), whole=False)


def refuse_absent(source: str | Path | Sequence[str | Path], exclude: Sequence[str] = ()) -> None:
    """Refuse a source that is not there, and patterns that cannot be read. No folder is searched.

    Raises:
        ConfigurationError: As for `find_files`.
    """
    excluded_by(exclude)
    # `find_files` says which right or disk is missing.
    with suppress(OSError):
        if isinstance(source, str | Path):
            _refuse_absent(with_home(source))


def _refuse_absent(path: Path) -> None:
    if path.exists() or path.is_symlink():
        return
    if not glob.has_magic(str(path)):
        raise _missing(path)
    if not (fixed := _before_pattern(path)).is_dir():
        raise _missing(fixed)


def _before_pattern(path: Path) -> Path:
    # This part is the source, so that documents keep their paths when the pattern changes.
    return Path(*takewhile(lambda part: not glob.has_magic(part), path.parts)).absolute()


def _hidden(location: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in location.relative_to(root).parts)


def _missing(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{str(path)!r} is not there.",
        state="Nothing was changed.",
        remedy="Check the path, and that its disk or share is mounted.",
    )


def _gathered(root: Path, found: Iterator[tuple[Path, OSError | None]], *, whole: bool) -> Source:
    name = source_name(root)
    return _source(name, (_in_folder(name, root, *each) for each in found), whole=whole)


def _in_folder(name: str, root: Path, location: Path, error: OSError | None) -> SourceFile | Document:
    path = readable(location.relative_to(root).as_posix())
    try:
        if error is not None:
            raise error
        stat = location.stat()  # before the link is followed by name, which never ends in a loop of links
        real = location.resolve()
    except OSError as failed:
        reason = f"it cannot be read ({failed.strerror or failed})."
        remedy = "Give the user that runs the flow the right to read it, or repair the link."
        return _refusal(name, path, "unreadable", reason, remedy)
    # Not only where the entry itself is a link: a pattern such as `*/*.pdf` passes through linked folders.
    if not real.is_relative_to(root):
        reason = "a link leads from it to a file outside of the source."
        return _refusal(name, path, "outside", reason, REMEDIES["outside"])
    inside = str(real.relative_to(root))
    return SourceFile(str(location), path, stat.st_size, _mtime_ns(stat), str(root), inside)


def _listed(paths: Sequence[Path], excluded: Excluded) -> Source:
    if not paths:
        raise ConfigurationError("The list of files is empty.", remedy="Name at least one file or a folder.")
    # A user's list may name a file twice; two documents of one path would have one id.
    locations = dict.fromkeys(with_home(each).absolute() for each in paths)
    kept = (each for each in locations if not excluded(each.relative_to(each.anchor).as_posix()))
    return _source(LISTED, map(_in_list, kept), whole=False)


def _in_list(location: Path) -> SourceFile | Document:
    path = readable(location.as_posix())
    if location.name.startswith("."):
        reason = "it is a hidden file, and these are left out."
        return _refusal(LISTED, path, "hidden", reason, "Give it a name without a dot in front.")
    try:
        stat = location.stat()
        real = location.resolve()
    except OSError as failed:
        reason = f"it cannot be read ({failed.strerror or failed})."
        return _refusal(LISTED, path, "unreadable", reason, "Check the path.")
    if location.is_dir():
        reason = "it is a folder in a list of files."
        return _refusal(LISTED, path, "not-a-file", reason, "Name the folder alone, in a run of its own.")
    return SourceFile(str(location), path, stat.st_size, _mtime_ns(stat), str(real.parent), real.name)


def _mtime_ns(stat: os.stat_result) -> int:
    # File systems take years that a table's column of 64 bits does not: a broken clock must not fail the run.
    return min(max(stat.st_mtime_ns, -(2**63)), 2**63 - 1)


def _source(name: str, entries: Iterable[SourceFile | Document], *, whole: bool) -> Source:
    found = list(entries)
    files = sorted((each for each in found if isinstance(each, SourceFile)), key=lambda file: file.path)
    return Source(name, whole, tuple(files), tuple(each for each in found if isinstance(each, Document)))


def _refusal(source: str, path: str, kind: str, reason: str, remedy: str) -> Document:
    reason = f"{path!r}: {reason}"
    return Document(document_id(source, path), source, path, FAILED, kind=kind, reason=reason, remedy=remedy)
