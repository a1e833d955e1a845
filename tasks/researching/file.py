"""Write a report into a file: a reader sees the old file or the whole new one, never a part."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.user_path import with_home


def check_output(path: str) -> Path:
    """Return where a text is to be written. Call it before the work that makes the text.

    Raises:
        ConfigurationError: Nothing can be written there.
    """
    file = with_home(path).absolute()
    why = ""
    if file.is_dir():
        why = "it is a folder"
    elif not file.parent.is_dir():
        why = "its folder does not exist"
    elif not os.access(file.parent, os.W_OK):
        why = "its folder cannot be written to"
    if why:
        raise ConfigurationError(
            f"{str(file)!r} cannot be written: {why}.",
            state="Nothing was done.",
            remedy="Name a file in a folder that you may write to.",
        )
    return file


def write_file(file: Path, text: str) -> None:
    """Write a text, in place of what the file held before.

    Raises:
        ConfigurationError: It cannot be written; the file is as it was.
    """
    # In the same folder: a rename is atomic only within one file system. Two runs may write the same report at once.
    beside = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}")
    try:
        # A device or a pipe cannot be replaced.
        if file.exists() and not file.is_file():
            file.write_text(text, encoding="utf-8", errors="backslashreplace")
            return
        try:
            with beside.open("x", encoding="utf-8", errors="backslashreplace") as opened:
                opened.write(text)
                opened.flush()
                # Without this some file systems have the new name and no content after a power failure.
                os.fsync(opened.fileno())
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The report cannot be written to {str(file)!r}: {error.strerror or error}.",
            state="The file is as it was. The report is an artifact of the run.",
            remedy="Name a file in a folder that you may write to. Answers are cached, so a second run is quick.",
        ) from None
