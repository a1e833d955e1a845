"""Open a file of a source once, below the source's folder and without following links.

Between the scan of a source and the reading of a file, somebody may replace the file or a folder above it by a link, so
that another file is read; or by a FIFO, at which `open` waits for ever. This module returns the descriptor of a regular
file below the source's folder. The file is hashed and parsed through this descriptor, so it cannot be replaced between.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

# O_NONBLOCK: opening a FIFO would wait for its writer.
_FILE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# O_PATH needs no right to list the folders on the way, as an ordinary `open` of the file needs none.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
# Windows has no such flag.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class LinkOnTheWay(OSError):
    """A folder or file of the source was replaced by a link, or a folder by something else, after the scan."""


class NotRegular(OSError):
    """The path is a folder, FIFO, socket or device."""


@contextmanager
def opened_beneath(root: str | Path, inside: str | Path) -> Iterator[int]:
    """Yield the descriptor of a regular file below a folder, and close it at the end.

    Args:
        root: The folder. Links above it are followed, because the user chose them by naming the folder.
        inside: Path from there to the file, as the scan resolved it: without links and without `..`.

    Raises:
        LinkOnTheWay: A part of `inside` is a link now, or leads out of `root`.
        NotRegular: The path is not a regular file.
        OSError: It cannot be opened.
    """
    parts = PurePath(inside).parts
    if not parts or any(part in ("..", os.sep) for part in parts):
        raise LinkOnTheWay(errno.ELOOP, "it is not beneath its source")
    if os.open not in os.supports_dir_fd:  # Windows
        descriptor = os.open(Path(root, inside), _FILE)
    else:
        folder = os.open(root, _FOLDER)
        try:
            for part in parts[:-1]:
                inner = _open(part, _FOLDER | _NO_LINK, folder)
                os.close(folder)
                folder = inner
            descriptor = _open(parts[-1], _FILE | _NO_LINK, folder)
        finally:
            os.close(folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegular(errno.EINVAL, "it is no regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _open(part: str, flags: int, folder: int) -> int:
    try:
        return os.open(part, flags, dir_fd=folder)
    except OSError as error:
        # ELOOP for a link; ENOTDIR for a link that O_DIRECTORY meets first; ENXIO for a socket.
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
            raise LinkOnTheWay(error.errno, "a link stands in its place") from None
        if error.errno == errno.ENXIO:
            raise NotRegular(error.errno, "it is no regular file") from None
        raise


def hash_descriptor(descriptor: int) -> str:
    """Return the BLAKE2b-256 hash of an open file, as hex digits.

    Raises:
        OSError: It cannot be read.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", closefd=False) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
