"""Folders and files of ours that no other user of the machine may read, write or lock.

Guarantees: a folder that `private_folder` returns belongs to the user of this process, and nobody else may enter it,
also where an earlier version left it open; a folder that another user made first is refused, not used.

Only POSIX systems have the owners and modes that this looks at; elsewhere folders are made and not checked.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from filelock import FileLock

from prefect_ollama.blocks.errors import FolderNotPrivate

# The rights of all but the owner.
OTHERS = 0o077

# The rights of others to write.
WRITING = 0o022

FILE_MODE = 0o600
FOLDER_MODE = 0o700
ROOT = 0


def private_folder(path: Path) -> Path:
    """Return the folder, made if need be, once only the user of this process can enter it.

    Parents that do not exist are made with the same rights. The rights of parents that exist stay as they are. A folder
    of root's to which nobody else can write is taken as it is.

    Raises:
        FolderNotPrivate: It belongs to another user, is a link that another user made, or others keep their rights.
        OSError: It cannot be made.
    """
    make_folder(path)
    if os.name == "posix":
        check_folder(path, writing=0)
        found = path.stat()
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & OTHERS:
            path.chmod(FOLDER_MODE)
            if stat.S_IMODE(path.stat().st_mode) & OTHERS:  # some network and FAT file systems ignore modes
                raise FolderNotPrivate(path, "its file system lets other users in whatever its mode says")
    return path


def make_folder(path: Path) -> None:
    """Make the folder and its missing parents for the user of this process alone; one that exists stays as it is.

    Raises:
        OSError: It cannot be made, or is no folder.
    """
    for missing in [each for each in (path, *path.parents) if not each.exists()][::-1]:
        missing.mkdir(FOLDER_MODE, exist_ok=True)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is not a folder", str(path))


def check_folder(path: Path, *, writing: int = WRITING) -> None:
    """Look whether what stands in a folder can be believed; nothing is changed.

    Args:
        path: The folder.
        writing: Rights to write that others may not have; of root's folders they may never have one.

    Raises:
        FolderNotPrivate: It belongs to another user, is a link that another user made, or others may write to it.
        OSError: It cannot be looked at.
    """
    if os.name != "posix":
        return
    # A link in a folder where others may write could be changed by them later; one of our own may stand.
    for found in (path.lstat(), path.stat()):
        if not _owned(found):
            raise FolderNotPrivate(path, f"it belongs to the user with the id {found.st_uid}")
    refused = writing if found.st_uid == os.geteuid() else WRITING
    if stat.S_IMODE(found.st_mode) & refused:
        raise FolderNotPrivate(path, f"others may write to it (mode {stat.S_IMODE(found.st_mode):04o})")


def is_ours(found: os.stat_result) -> bool:
    """Whether a file belongs to the user of this process or to root, as `lstat` found it."""
    return os.name != "posix" or _owned(found)


def _owned(found: os.stat_result) -> bool:
    return found.st_uid in (os.geteuid(), ROOT)


def open_private(path: Path) -> int:
    """Open a file of ours for reading and writing, made if need be, which others cannot open.

    A file that others could open before is replaced: they may have it open, and hold its lock.

    Returns:
        A file descriptor, which new programs do not inherit.

    Raises:
        OSError: It cannot be opened or replaced, is a link, or belongs to another user.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
    while True:
        file = os.open(path, flags, FILE_MODE)
        if os.name != "posix":
            return file
        found = os.fstat(file)
        mine = found.st_uid == os.geteuid()
        if mine and not stat.S_IMODE(found.st_mode) & OTHERS:
            return file
        os.close(file)
        if not mine:
            raise PermissionError(
                errno.EPERM, f"it belongs to the user with the id {found.st_uid}", str(path)
            )
        path.unlink(missing_ok=True)


def private_lock(path: Path) -> FileLock:
    """Return a lock between processes, whose file only this user may open. The system releases it when its holder dies.

    Raises:
        OSError: The file cannot be made or replaced, is a link, or belongs to another user.
    """
    # Somebody who could open an earlier file of that name may hold its lock for ever.
    os.close(open_private(path))
    return FileLock(path, mode=FILE_MODE)
