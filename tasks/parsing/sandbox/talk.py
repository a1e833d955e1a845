"""What a reader tells the parent while it reads. Each line is sent at once: what was said before a kill is not lost."""

from __future__ import annotations

from prefect_ollama.tasks.parsing.sandbox import protocol
from prefect_ollama.tasks.parsing.sandbox.limits import Limits
from prefect_ollama.tasks.parsing.sandbox.order import Budget


class Talk:
    """The child's side of the pipe, for one file.

    Args:
        answers: Descriptor of the pipe.
        limits: Those of this process.
        budget: What the file may cost.
    """

    def __init__(self, answers: int, limits: Limits, budget: Budget) -> None:
        self._answers = answers
        self._limits = limits
        self._budget = budget
        self._extra = False

    def pages(self, count: int) -> None:
        """Say how many pages the file has."""
        self.say(protocol.COUNTED, count)

    def entry(self, kind: bytes, page: int, body: bytes) -> None:
        """Enter something in the journal. Its kind is the format's own, in lower case."""
        assert kind.islower()
        self.say(kind, page, body)

    def worth_keeping(self) -> None:
        """Say that the journal makes a document by now, should the reader be stopped."""
        self.say(protocol.KEPT)

    def read(self, page: int) -> None:
        """Say that pages have been read up to this one, counted from 0."""
        self.say(protocol.READ, page)

    def all_read(self) -> None:
        """Say that all pages were read; what comes now adds to them."""
        self.say(protocol.SEEN)

    def begin_extra(self, page: int, seconds: float) -> None:
        """Begin extra work on a page, with so many seconds from now on; the parent keeps its own clock too."""
        self._extra = True
        self.say(protocol.EXTRA, page)
        self._limits.time(cpu=seconds, wall=seconds)

    def make(self) -> None:
        """Say that the document is being made. After extra work there is as much time for it as there was to read."""
        self.say(protocol.MAKES)
        if self._extra:
            self._limits.time(cpu=self._budget.cpu_seconds, wall=self._budget.wall_seconds)

    def say(self, kind: bytes, page: int = 0, body: bytes = b"") -> None:
        """Send one line."""
        self.write(protocol.write_line(kind, page, body))

    def write(self, data: bytes) -> None:
        """Send lines as they are."""
        protocol.write_all(self._answers, data)
