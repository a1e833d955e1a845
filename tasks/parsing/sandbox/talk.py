"""Messages of a reader to the parent."""

from __future__ import annotations

import os

from prefect_ollama.tasks.parsing.sandbox import protocol
from prefect_ollama.tasks.parsing.sandbox.limits import Limits
from prefect_ollama.tasks.parsing.sandbox.protocol import Budget


class Talk:
    """The child's side of the pipe, for one file.

    Messages that the parent needs if the child is killed are sent at once. The rest waits for the next line that must
    be sent, because each write wakes the parent up, which takes both processes as long as parsing a twentieth of a
    page.

    Args:
        answers: Descriptor of the pipe.
        progress: Descriptor of the file in memory that has the progress; None if there is none.
    """

    def __init__(self, answers: int, limits: Limits, budget: Budget, progress: int | None) -> None:
        self._answers = answers
        self._limits = limits
        self._budget = budget
        self._progress = progress
        self._pages = 0
        self._waiting: list[bytes] = []
        self._kept = False
        self._extra = False

    def pages(self, count: int) -> None:
        """Report how many pages the file has."""
        self._pages = count
        self.read(-1)

    def read(self, page: int) -> None:
        """Report that all pages up to this one were read, counted from 0. Reading wakes no other process up."""
        if self._progress is not None:
            os.pwrite(self._progress, protocol.PROGRESS.pack(page + 1, self._pages), 0)

    def entry(self, kind: bytes, page: int, body: bytes) -> None:
        """Add an entry to the journal. The format defines its kind, in lower case."""
        assert kind.islower()
        self._say_in_time(kind, page, body)

    def worth_keeping(self) -> None:
        """Report that the journal suffices for a document, if the reader is stopped from now on."""
        self._kept = True
        self.say(protocol.KEPT)

    def all_read(self) -> None:
        """Report that all pages were read; later entries add to them."""
        self._say_in_time(protocol.SEEN)

    def begin_extra(self, page: int, seconds: float) -> None:
        """Begin extra work on a page, with a limit of seconds from now on. The parent also keeps a clock."""
        self._extra = True
        self.say(protocol.EXTRA, page)
        self._limits.time(cpu=seconds, wall=seconds)

    def make(self) -> None:
        """Report that the document is being made. After extra work, this gets the limits of time of reading again."""
        self.say(protocol.MAKES)
        if self._extra:
            self._limits.time(cpu=self._budget.cpu_seconds, wall=self._budget.wall_seconds)

    def _say_in_time(self, kind: bytes, page: int = 0, body: bytes = b"") -> None:
        """Send one line before the next one that must be sent; at once if the journal suffices for a document."""
        self._waiting.append(protocol.write_line(kind, page, body))
        if self._kept:
            self.write(b"")

    def say(self, kind: bytes, page: int = 0, body: bytes = b"") -> None:
        """Send one line."""
        self.write(protocol.write_line(kind, page, body))

    def write(self, data: bytes) -> None:
        """Send the lines that wait, and then these as they are."""
        protocol.write_all(self._answers, b"".join((*self._waiting, data)))
        self._waiting.clear()
