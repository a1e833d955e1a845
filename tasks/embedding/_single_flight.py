"""Claims on texts, so that no text is embedded twice at a time: between threads, and between runs on one host.

`SingleFlight` lets one thread of a process embed a text, and the others wait for its vector. Without it, a page that is
in hundreds of files would be embedded once for each bundle in progress.

`TextLocks` does the same between processes. A lock is one byte of one of `FILES` lock files. The kernel releases the
locks of a process as soon as it ends, however it ends. If the system or the file system has no such locks, nothing is
locked. A text may then be embedded twice, and both vectors are the same.
"""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from prefect_ollama.blocks.cache import VectorSalt
from prefect_ollama.blocks.errors import FolderNotPrivate, TextError
from prefect_ollama.blocks.nodes import Vectors
from prefect_ollama.blocks.private_files import FILE_MODE, private_folder

# `filelock` locks whole files, so it would need one file for each text.
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Number of lock files: for each new lock the kernel goes through all locks of its file.
FILES = 64

# Offsets in a file are signed numbers of 64 bits, and offset plus length must not overflow.
OFFSET_MASK = 2**62 - 1

# The outcome of a claimed text; None if its claimant gave up.
Outcome = Vectors | TextError | None

# Texts with the futures of their outcomes.
Claims = dict[str, Future[Outcome]]


class SingleFlight:
    """The texts that threads of this process embed at present."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[VectorSalt, str], Future[Outcome]] = {}

    @contextlib.contextmanager
    def of(self, texts: Sequence[str], salt: VectorSalt) -> Iterator[tuple[Claims, Claims]]:
        """Claim the texts that no other thread embeds, and yield the claimed texts and the other texts.

        This thread must embed the claimed texts and set their futures; a future without an outcome at the end gets
        None. Wait for the other texts after the claim has ended: two threads that wait within their claims would wait
        for each other.
        """
        with self._lock:
            others = {text: self._open[salt, text] for text in texts if (salt, text) in self._open}
            mine: Claims = {text: Future() for text in texts if text not in others}
            self._open |= {(salt, text): outcome for text, outcome in mine.items()}
        try:
            yield mine, others
        finally:
            with self._lock:
                for text in mine:
                    del self._open[salt, text]
            # After the claim is gone: a thread that wakes up may claim the text at once.
            for outcome in mine.values():
                if not outcome.done():
                    outcome.set_result(None)


class TextLocks:
    """The locks of this process in one folder.

    Args:
        folder: A folder that all runs on this host share, such as one in the vector cache.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[int, int] = {}
        self._usable = fcntl is not None

    @contextlib.contextmanager
    def hold(self, keys: Mapping[str, bytes]) -> Iterator[set[str]]:
        """Lock the texts that no other process has locked, yield them, and release the rest at the end.

        Args:
            keys: The keys of their vectors in the cache, by text.
        """
        held: set[str] = set()
        try:
            for text, key in keys.items():
                if self._lock(key):
                    held.add(text)
            yield held
        finally:
            self.release(keys[text] for text in held)

    def release(self, keys: Iterable[bytes]) -> None:
        """Release the locks of texts that are done: their vectors are in the cache, or they failed."""
        if self._usable:
            for key in keys:
                file, offset = self._place(key)
                with contextlib.suppress(OSError):
                    fcntl.lockf(file, fcntl.LOCK_UN, 1, offset)

    def _lock(self, key: bytes) -> bool:
        """Return False only if another process has the text."""
        if not self._usable:
            return True
        try:
            file, offset = self._place(key)
        except (OSError, FolderNotPrivate):  # without locks a text may be embedded twice, which does no harm
            self._usable = False
            return True
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except (BlockingIOError, PermissionError):  # POSIX allows both for a lock that another process has
            return False
        except OSError:  # a file system without locks, or no room for more
            self._usable = False
        return True

    def _place(self, key: bytes) -> tuple[int, int]:
        number = key[0] % FILES
        if number not in self._files:
            folder = private_folder(self._folder)
            # Never closed: closing any descriptor of a file releases all POSIX locks of the process on it (fcntl(2)).
            self._files[number] = os.open(
                folder / f"{number:02}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE
            )
        return self._files[number], int.from_bytes(key[1:9], "little") & OFFSET_MASK
