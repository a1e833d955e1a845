"""Folders and files that no other user of the machine may read, write or lock.

Guarantees: a folder from `private_folder` belongs to the user of this process, and no other user may enter it, even
if an earlier version left it open. A folder that another user made is refused.

Only POSIX systems have these owners and modes. On other systems folders are made, and not checked.
"""

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

# Rights of the owner alone.
FILE_MODE = 0o600
FOLDER_MODE = 0o700
# The user id of root, who can read and write every file anyway.
ROOT = 0


def private_folder(path: Path) -> Path:
    """Make the folder if it does not exist, close it to other users, and return it.

    Missing parents are made with the same rights. The rights of existing parents stay. A folder of root to which no
    other user can write is used unchanged.

    Raises:
        FolderNotPrivate: It belongs to another user, is a link that another user made, or cannot be closed to others.
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
    """Make the folder and its missing parents, closed to other users. An existing folder stays unchanged.

    Raises:
        OSError: It cannot be made, or is no folder.
    """
    for missing in [each for each in (path, *path.parents) if not each.exists()][::-1]:
        missing.mkdir(FOLDER_MODE, exist_ok=True)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is not a folder", str(path))


def close_as_parent(path: Path) -> None:
    """Take from others the rights to a folder that they do not have to its parent.

    Raises:
        OSError: It belongs to another user, or is not there.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode & (path.parent.stat().st_mode | ~OTHERS))


def check_folder(path: Path, *, writing: int = WRITING) -> None:
    """Check that no other user can have written the files of a folder. This changes nothing.

    Args:
        path: The folder.
        writing: Rights to write that other users may not have. In folders of root they may have none of them.

    Raises:
        FolderNotPrivate: It belongs to another user, is a link that another user made, or others may write to it.
        OSError: It cannot be read.
    """
    if os.name != "posix":
        return
    # Another user could change their own link later. A link of this user is fine, and so is its target.
    for found in (path.lstat(), path.stat()):
        if not is_ours(found):
            raise FolderNotPrivate(path, f"it belongs to the user with the id {found.st_uid}")
    refused = writing if found.st_uid == os.geteuid() else WRITING
    if stat.S_IMODE(found.st_mode) & refused:
        raise FolderNotPrivate(path, f"others may write to it (mode {stat.S_IMODE(found.st_mode):04o})")


def is_ours(found: os.stat_result) -> bool:
    """Return whether a file belongs to the user of this process or to root, by its `lstat`."""
    return os.name != "posix" or found.st_uid in (os.geteuid(), ROOT)


def open_private(path: Path) -> int:
    """Open a file for reading and writing that others cannot open; make it if it does not exist.

    A file that others could open before is replaced, because they may have it open and hold its lock.

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
    # This replaces a file that others could open, because they could hold its lock for ever.
    os.close(open_private(path))
    return FileLock(path, mode=FILE_MODE)
