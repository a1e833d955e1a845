"""Files that a user names for a result: checked before the work, and written whole or not at all."""

import os
import shutil
import uuid
from pathlib import Path

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.user_path import with_home


def output_file(path: str | Path) -> Path:
    """Return the file that a result is to be written to. Call it before the work that makes the result.

    Raises:
        ConfigurationError: It cannot be written.
    """
    file = with_home(path).absolute()
    # A device or a pipe is written to itself; any other file is replaced in its folder.
    place = file if file.exists() and not file.is_file() else file.parent
    if file.is_dir():
        raise _refused(file, "it is a folder")
    if not place.exists():
        raise _refused(file, "its folder does not exist")
    return _checked(file, place)


def output_folder(path: str | Path) -> Path:
    """Return the folder that results are to be written into, which need not exist. Call it before the work.

    Raises:
        ConfigurationError: It cannot be made or written to.
    """
    folder = with_home(path).absolute()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir():
        raise _refused(folder, f"{str(there)!r} is no folder")
    return _checked(folder, there)


def write_output(file: Path, content: str | bytes, state: str) -> None:
    """Write a result, in place of what the file held before. Its folder is made if it does not exist.

    Args:
        file: As `output_file` returns it, or in an `output_folder`.
        content: Bytes, or a text for UTF-8.
        state: What is left of the work if it cannot be written, in a sentence.

    Raises:
        ConfigurationError: It cannot be written; the file is as it was.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    try:
        # A device or a pipe cannot be replaced.
        if file.exists() and not file.is_file():
            file.write_bytes(content)
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        # A link stays a link to the new content.
        target = file.resolve()
        # In the same folder: a rename is atomic only within one file system. Two runs may write the same file at once.
        beside = target.with_name(f".{uuid.uuid4().hex}")
        try:
            with beside.open("xb") as opened:
                opened.write(content)
                opened.flush()
                # Without this some file systems have the new name and no content after a power failure.
                os.fsync(opened.fileno())
            if target.exists():
                shutil.copymode(target, beside)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise _refused(file, error.strerror or str(error), f"The file is as it was. {state}") from None


def _checked(path: Path, place: Path) -> Path:
    if not os.access(place, os.W_OK):
        raise _refused(path, f"you may not write to {str(place)!r}")
    return path


def _refused(path: Path, why: str, state: str = "Nothing was done.") -> ConfigurationError:
    return ConfigurationError(
        f"{str(path)!r} cannot be written: {why}.",
        state=state,
        remedy="Name a place that has room and that you may write to.",
    )
