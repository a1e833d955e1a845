"""What reads the files of one format within the child process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from prefect_ollama.tasks.parsing.document import ParsedDocument
from prefect_ollama.tasks.parsing.sandbox.protocol import Line
from prefect_ollama.tasks.parsing.sandbox.talk import Talk


class FileReader(Protocol):
    """Reads files of one format, one at a time. It is made in the child before the rights are taken away.

    Attributes:
        readable: Files and folders that it opens while it reads, beside the file itself and the code.
    """

    readable: Sequence[str | Path]

    def read(self, file: bytes | int, request: Mapping[str, Any], talk: Talk) -> ParsedDocument:
        """Read a file and make the document of it.

        Args:
            file: Its path, or its descriptor.
            request: What the parent's half of the format asks for.
            talk: Tells the parent how far it is, and what there is so far.
        """
        ...

    def replay(
        self, journal: Iterator[Line], stopped: tuple[str, str, str], request: Mapping[str, Any], talk: Talk
    ) -> ParsedDocument:
        """Make the document of what another child, which was stopped, had entered in its journal.

        Args:
            journal: The entries, to be read to their end.
            stopped: Why it was stopped: kind, reason and remedy of the problem of each page that it did not get to.
            request: As for `read`.
            talk: As for `read`.
        """
        ...

    def refusal(self, error: Exception) -> tuple[str, str]:
        """Return why an error ends the reading of a file: a key of `REMEDIES`, and a sentence without a full stop."""
        ...


@runtime_checkable
class PageDrawer(Protocol):
    """What a `FileReader` has in addition where pages of its format can be drawn."""

    def draw(
        self,
        file: bytes | int,
        request: Mapping[str, Any],
        page: int,
        marks: Sequence[Sequence[float]],
        dpi: int,
    ) -> bytes:
        """Return a page as PNG.

        Args:
            file: Its path, or its descriptor.
            request: As for `FileReader.read`.
            page: Counted from 0.
            marks: Rectangles (x0, y0, x1, y1) to mark, in points from the top left of the page as it is shown.
            dpi: Resolution.
        """
        ...


# What the module of a reader has under the name `make_reader`; it takes the format's `setup`.
MakeReader = Callable[[Mapping[str, Any]], FileReader]
