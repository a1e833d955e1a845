"""The result of parsing: the text of a document in reading order, with its structure and its places on pages.

Pure values. A parser for another format produces these, and everything after it works unchanged.
"""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from prefect_ollama.tasks.parsing.dropped import DroppedLine
from prefect_ollama.tasks.parsing.options import ParseOptions


class Box(NamedTuple):
    """A rectangle on a page, in PDF points (1/72 inch), origin at the top left."""

    x0: float
    y0: float
    x1: float
    y1: float


class Block(NamedTuple):
    """A paragraph, a heading, a table, a footnote, a running head or a comment on one page.

    Attributes:
        kind: "paragraph", "heading", "code" (a listing), "table", "note" (a footnote), "margin" (a running head or
            foot that stays) or "comment" (a note that a reader has put on the page; it stands after all that the
            page itself says).
        text: Its text. Code has the line breaks of its page, and a table is Markdown, one row a line, the header
            first; no other text has line breaks.
        box: Where it stands on its page.
        level: Level of a heading, 1 for the highest; 0 for the others.
        continues: It goes on with the last paragraph or table before it, from the column or the page before; a table
            then without the header.
        ends: Where each of its lines except the last ends in `text`; empty if it has one line, or where that is not
            known. Lines are equally far apart.
        header: How many rows of a table are its header, with years, periods and units; 0 if it has none, or goes on
            from the page before.
        title: Title and units of a table, from the lines above it, which are also blocks of their own.
    """

    kind: Literal["paragraph", "heading", "code", "table", "note", "margin", "comment"]
    text: str
    box: Box
    level: int = 0
    continues: bool = False
    ends: tuple[int, ...] = ()
    header: int = 0
    title: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One page.

    Attributes:
        number: Counted from 1.
        width, height: In PDF points.
        blocks: In reading order.
        ocr: Whether the text was read from a picture of the page.
        heads: Running heads and feet that stand on it and are not among its blocks, without page numbers.
        label: The page number that is printed on it ("iv", "12"); empty if none was found.
    """

    number: int
    width: float
    height: float
    blocks: tuple[Block, ...]
    ocr: bool = False
    heads: tuple[str, ...] = ()
    label: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was not read as it should have been.

    Attributes:
        page: Page number counted from 1; None if it concerns the whole file.
        kind: A short stable word for reports ("ocr-language", "page", "wall-time", …).
        reason: What went wrong, in one sentence without the number of the page.
        remedy: What to do about it.
        unread: Whether text of this page is missing because of it.
    """

    page: int | None
    kind: str
    reason: str
    remedy: str = ""
    unread: bool = True


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata in a file; empty or None for missing values."""

    title: str = ""
    author: str = ""
    created: datetime | None = None
    modified: datetime | None = None


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document as read.

    Attributes:
        pages: The pages that were read, in order. Pages that were not are in `problems`.
        page_count: Pages that the file says it has.
        metadata: Title, author, dates.
        problems: What was not read, page by page.
        dropped: Characters left out on purpose, by the rule that dropped them ("header", "footer",
            "page-number", "hyphen", …).
        dropped_lines: The lines that were left out whole, with how often each was; the most frequent ones.
        ocr_pages: Numbers of the pages read by OCR.
        seconds: Time by the clock, in seconds.
        cpu_seconds: CPU time of the parser process, in seconds.
        ocr_seconds: Part of `seconds` that went into OCR.
    """

    pages: tuple[Page, ...]
    page_count: int
    metadata: Metadata = field(default_factory=Metadata)
    problems: tuple[Problem, ...] = ()
    dropped: dict[str, int] = field(default_factory=dict)
    dropped_lines: tuple[DroppedLine, ...] = ()
    ocr_pages: tuple[int, ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    ocr_seconds: float = 0.0

    @property
    def unread_pages(self) -> tuple[int, ...]:
        """Numbers of the pages whose text is missing, in order."""
        return tuple(sorted({p.page for p in self.problems if p.unread and p.page is not None}))


class DocumentParser(Protocol):
    """The interface of a parser for the rest of the project, for any format. `Parser` implements it in a sandbox."""

    @property
    def version(self) -> int:
        """Version of the reader; it is stored with each document (`ingest --reread`)."""
        ...

    @property
    def unconfined(self) -> tuple[str, ...]:
        """The parts of the confinement that this system lacks, each with the reason; known after the first file."""
        ...

    def parse(
        self, path: Path, options: ParseOptions | None = None, *, descriptor: int | None = None
    ) -> ParsedDocument:
        """Read one file.

        Args:
            path: The file.
            options: Limits and how to read; the defaults when not given.
            descriptor: The file, opened for reading. The path then only names it.

        Raises:
            DocumentError: It cannot be read within the limits; `kind` is a key of `REMEDIES`.
        """
        ...

    def close(self) -> None:
        """Release all resources; the parser may be used again afterwards."""
        ...
