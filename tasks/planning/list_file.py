"""Lists of files in a file: `@FILE` in place of the list itself.

The file names one path a line, or has a NUL after each, as `find -print0` writes them. Paths that are not absolute
start at the working folder.
"""

import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.private_files import open_private, private_folder
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.blocks.user_path import with_home

# Prefix of a source that names such a file.
MARK: Final = "@"

# Age at which the lists of killed runs are deleted. A run that lasts longer has read its list at its beginning.
LEFT_OVER_AGE_S: Final = 7 * 24 * 3600.0

# The name says how many files are in the list, so a run can be named after it without reading it.
_KEPT: Final = re.compile(r"(\d+)-files-[0-9a-f]{16}\.list")


def expand_list_file(source: str | Sequence[str]) -> str | list[str] | Sequence[str]:
    """Return the source, or the paths in the list that it names.

    Raises:
        ConfigurationError: The list cannot be read, or is empty.
    """
    if not isinstance(source, str) or not source.startswith(MARK) or Path(source).exists():
        return source
    path = with_home(source.removeprefix(MARK))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"The list of files {str(path)!r} cannot be read: {error.strerror or error}.",
            state="Nothing was changed.",
            remedy=f"Name a file with one path a line after {MARK!r}.",
        ) from None
    # A path may hold a line break, so a NUL anywhere means that NULs divide. Notepad writes a byte order mark.
    parts = data.split(b"\0") if b"\0" in data else data.removeprefix(b"\xef\xbb\xbf").splitlines()
    paths = [os.fsdecode(part) for part in parts if part.strip()]
    if not paths:
        raise ConfigurationError(
            f"The list of files {str(path)!r} names none.",
            state="Nothing was changed.",
            remedy="Name one path a line.",
        )
    return paths


def source_display_name(source: str | Sequence[str]) -> str:
    """Return the name of a source in names of runs: its folder, pattern or file, or the number of its files."""
    if not isinstance(source, str):
        return str(source[0]) if len(source) == 1 else quantity(len(source), "file")
    kept = _KEPT.fullmatch(Path(source).name) if source.startswith(MARK) else None
    return quantity(int(kept[1]), "file") if kept else source


@contextmanager
def kept_list(folder: Path, paths: Sequence[str | os.PathLike[str]]) -> Iterator[str]:
    """Write a list of paths into a file that only this user can read, and delete it at the end.

    Args:
        folder: The folder of the file; it is made if it does not exist.

    Yields:
        The source that names the list.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    # NULs and not line breaks, which may be in a path. Random, because several runs may start at once.
    path = folder / f"{len(paths)}-files-{secrets.token_hex(8)}.list"
    data = b"".join(os.fsencode(each) + b"\0" for each in paths)
    try:
        _sweep(private_folder(folder))
        with os.fdopen(open_private(path), "wb") as file:
            file.write(data)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise ConfigurationError(
            f"The list of {quantity(len(paths), 'file')} cannot be kept in {str(folder)!r}: {error.strerror or error}.",
            state="Nothing was started.",
            remedy="Free space there, or name a folder or a pattern in place of the list.",
        ) from None
    try:
        yield f"{MARK}{path}"
    finally:
        with suppress(OSError):
            path.unlink()


def _sweep(folder: Path) -> None:
    oldest = time.time() - LEFT_OVER_AGE_S
    for path in folder.iterdir():
        with suppress(OSError):
            if _KEPT.fullmatch(path.name) and path.stat().st_mtime < oldest:
                path.unlink()
