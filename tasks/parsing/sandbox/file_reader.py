"""The interface of a reader, which reads the files of one format in the child process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from prefect_ollama.tasks.parsing.document import ParsedDocument
from prefect_ollama.tasks.parsing.sandbox.protocol import Line
from prefect_ollama.tasks.parsing.sandbox.talk import Talk


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
