"""Questions on this machine that wait for nodes. Bulk work of other processes holds back while they do.

Nodes are FIFO, so a question that is sent at once waits for what a node has in hand. A run that sees the question sends
the node nothing more, and takes back what waits there for its turn. So the question waits for one request at most.

Guarantees: a killed process holds nobody back, because the operating system releases its lock. Without a usable folder,
or without file locks, a question is sent without a word.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from prefect_ollama.blocks.errors import FolderNotPrivate
from prefect_ollama.blocks.private_files import open_private, private_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

# The suffix tells files of questions from those of runs (`_shared_limits.SUFFIX`) in the shared folder.
SUFFIX: Final = ".question"
NONE: Final[frozenset[str]] = frozenset()


class Asking:
    """A question that is being asked: a context manager. Several threads of a process have one each.

    Args:
        folder: The folder that runs share (`resolve.shared_limits_folder`); None for none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        if fcntl is None:
            self._folder = None
        self._path = Path()
        self._file = -1

    def at(self, urls: Collection[str]) -> None:
        """Let bulk work hold back at these nodes until the question is answered."""
        if self._folder is None or not urls:
            return
        try:
            if self._file < 0:
                private_folder(self._folder)
                self._path = self._folder / f"{uuid.uuid4().hex}{SUFFIX}"
                unseen = self._path.with_suffix(".new")
                self._file = open_private(unseen)
                fcntl.flock(self._file, fcntl.LOCK_EX)
                self._write(urls)
                unseen.rename(self._path)  # nobody may see it before it is locked
            else:
                self._write(urls)
        except (OSError, FolderNotPrivate) as error:
            logger.debug(
                "Runs do not hold back for a question: the folder %s fails (%s).", self._folder, error
            )
            self._folder = None

    def _write(self, urls: Collection[str]) -> None:
        word = json.dumps(sorted(urls)).encode()
        os.pwrite(self._file, word, 0)
        os.ftruncate(self._file, len(word))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            for path in (self._path, self._path.with_suffix(".new")):
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1


def asked_urls(folder: Path | None) -> frozenset[str]:
    """Return the URLs of the nodes that questions wait for. Questions of killed processes are cleared away.

    Args:
        folder: The folder that runs share; None for none.
    """
    if folder is None or fcntl is None:
        return NONE
    found: set[str] = set()
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX):
                found.update(_urls_of(Path(entry.path)))
    return frozenset(found)


def _urls_of(path: Path) -> list[str]:
    with suppress(OSError, ValueError), path.open("rb") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return [each for each in json.load(file) if isinstance(each, str)]
        path.unlink(missing_ok=True)  # the process that asked is gone
    return []
