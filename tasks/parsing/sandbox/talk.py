"""Messages of a reader to the parent. Each is sent at once, so nothing that was sent is lost if the child is killed."""

from __future__ import annotations

from prefect_ollama.tasks.parsing.sandbox import protocol
from prefect_ollama.tasks.parsing.sandbox.limits import Limits
from prefect_ollama.tasks.parsing.sandbox.order import Budget


class Talk:
    """The child's side of the pipe, for one file.

    Args:
        answers: Descriptor of the pipe.
        limits: Limits of this process.
        budget: Limits of the file.
    """

    def __init__(self, answers: int, limits: Limits, budget: Budget) -> None:
        self._answers = answers
        self._limits = limits
        self._budget = budget
        self._extra = False

    def pages(self, count: int) -> None:
        """Report how many pages the file has."""
        self.say(protocol.COUNTED, count)

    def entry(self, kind: bytes, page: int, body: bytes) -> None:
        """Add an entry to the journal. The format defines its kind, in lower case."""
        assert kind.islower()
        self.say(kind, page, body)

    def worth_keeping(self) -> None:
        """Report that the journal suffices for a document, if the reader is stopped from now on."""
        self.say(protocol.KEPT)

    def read(self, page: int) -> None:
        """Report that all pages up to this one were read, counted from 0."""
        self.say(protocol.READ, page)

    def all_read(self) -> None:
        """Report that all pages were read; later entries add to them."""
        self.say(protocol.SEEN)

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

    def say(self, kind: bytes, page: int = 0, body: bytes = b"") -> None:
        """Send one line."""
        self.write(protocol.write_line(kind, page, body))

    def write(self, data: bytes) -> None:
        """Send lines as they are."""
        protocol.write_all(self._answers, data)
