"""Folders and files of ours that no other user of the machine may read, write or lock.

Guarantees: a folder that `private_folder` returns belongs to the user of this process, and nobody else may enter it,
also where an earlier version left it open; a folder that another user made first is refused, not used.

Only POSIX systems have the owners and modes that this looks at; elsewhere folders are made and not checked.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from prefect_ollama.blocks.errors import FolderNotPrivate

OTHERS = 0o077
"""The rights of all but the owner."""

FILE_MODE = 0o600
FOLDER_MODE = 0o700


def private_folder(path: Path) -> Path:
    """Return the folder, made if need be, once only the user of this process can enter it.

    Parents that do not exist are made with the same rights. The rights of parents that exist stay as they are.

    Raises:
        FolderNotPrivate: It belongs to another user, is a link that another user made, or others keep their rights.
        OSError: It cannot be made.
    """
    for missing in [each for each in (path, *path.parents) if not each.exists()][::-1]:
        missing.mkdir(FOLDER_MODE, exist_ok=True)
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is not a folder")
    if os.name == "posix":
        _take_rights(path)
    return path


def _take_rights(path: Path) -> None:
    # A link in a folder where others may write could be changed by them later; one of our own may stand.
    for found in (path.lstat(), path.stat()):
        if found.st_uid != os.geteuid():
            raise FolderNotPrivate(path, f"it belongs to the user with the id {found.st_uid}")
    if stat.S_IMODE(path.stat().st_mode) & OTHERS:
        path.chmod(FOLDER_MODE)
        if stat.S_IMODE(path.stat().st_mode) & OTHERS:  # some network and FAT file systems ignore modes
            raise FolderNotPrivate(path, "its file system lets other users in whatever its mode says")


def open_private(path: Path) -> int:
    """Open a file of ours for reading and writing, made if need be, and take all rights from others.

    Returns:
        A file descriptor, which new programs do not inherit.

    Raises:
        OSError: It cannot be opened, is a link, or belongs to another user.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), FILE_MODE)
    try:
        if os.name == "posix":
            found = os.fstat(file)
            if found.st_uid != os.geteuid():
                raise PermissionError(f"{path} belongs to the user with the id {found.st_uid}")
            if stat.S_IMODE(found.st_mode) & OTHERS:
                os.fchmod(file, FILE_MODE)
    except BaseException:
        os.close(file)
        raise
    return file
