"""The interface of a reader, which reads files of one format in the child process, and its messages to the parent."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from prefect_ollama.tasks.parsing.document import ParsedDocument
from prefect_ollama.tasks.parsing.sandbox import protocol
from prefect_ollama.tasks.parsing.sandbox.limits import Limits
from prefect_ollama.tasks.parsing.sandbox.protocol import Budget, Line


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


class FileReader(Protocol):
    """Reads files of one format, one at a time. The reader is made in the child before the child gives up its rights.

    Attributes:
        readable: Files and folders that it opens while it reads, except the file itself and the code.
    """

    readable: Sequence[str | Path]

    def read(self, file: int, request: Mapping[str, Any], talk: Talk) -> ParsedDocument:
        """Read a file, and return it as a document.

        Args:
            file: Its descriptor.
            request: Options from the parent's half of the format (`DocumentFormat.request`).
            talk: Reports progress and journal entries to the parent.
        """
        ...

    def replay(
        self, journal: Iterator[Line], stopped: tuple[str, str, str], request: Mapping[str, Any], talk: Talk
    ) -> ParsedDocument:
        """Return the document of the journal of another child, which was stopped.

        Args:
            journal: The entries; all must be read.
            stopped: Kind, reason and remedy of the problem of each page that the other child did not reach.
            request: As for `read`.
            talk: As for `read`.
        """
        ...

    def refusal(self, error: Exception) -> tuple[str, str]:
        """Return why a file cannot be read after an error other than `Stopped`.

        Returns:
            A key of `REMEDIES`, and a sentence without a full stop.
        """
        ...


@runtime_checkable
class PageDrawer(Protocol):
    """The additional interface of a `FileReader` whose format has pages that can be drawn."""

    def draw(
        self,
        file: int,
        request: Mapping[str, Any],
        page: int,
        marks: Sequence[Sequence[float]],
        dpi: int,
        quoted: Mapping[str, Any] | None = None,
    ) -> tuple[bytes, float]:
        """Return a page as PNG, and the share of a quote that is marked on it; no picture where that is none.

        Args:
            file: Its descriptor.
            request: As for `FileReader.read`.
            page: Counted from 0.
            marks: Rectangles (x0, y0, x1, y1) to mark, in points from the top left of the page as it is shown.
            dpi: Resolution.
            quoted: Words to mark within the rectangles, the fields of `Quoted`; None marks the rectangles.
        """
        ...


# The type of `make_reader` in the module of a reader. Its argument is the format's `setup`.
MakeReader = Callable[[Mapping[str, Any]], FileReader]
