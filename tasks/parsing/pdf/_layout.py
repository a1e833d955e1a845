"""The parts of a page before its structure is known: pieces, rows of cells, tables."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

# Everything except letters and digits: spaces and signs differ between a page, its outline, OCR and comments.
_NOT_WORDS: Final = re.compile(r"[\W_]+")
# Coordinates and sizes of pieces are whole numbers: tenths of a point.
SCALE: Final = 10.0
# Footnotes are set in type smaller than this part of that of the text.
NOTE_SIZE: Final = 0.93
# Dots that lead from an entry of a table of contents to its page.
LEADERS: Final = re.compile(r"(?:[.·…_]\s?){5,}")
# Text of nothing but such dots, which are set apart.
LONE_DOTS: Final = re.compile(r"\s*\.(?:\s+\.)*\s*")


class Cell(NamedTuple):
    """A part of a row that is set apart from the cells beside it."""

    x0: int
    x1: int
    text: str


class Row(NamedTuple):
    """Where cells stand side by side on one line.

    Attributes:
        x0, y0, x1, y1: Left, top, right and bottom edge, in points as all of these.
        size: Size of the type.
        second: Left edge of the second cell.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    size: float
    second: float
    cells: int


class Comment(NamedTuple):
    """A comment that a reader has put on a page, or the value of a field, with its label. Edges in points."""

    x0: float
    y0: float
    x1: float
    y1: float
    text: str


@dataclass(slots=True)
class Piece:
    """Lines that belong together. Coordinates and size in tenths of a point.

    Attributes:
        text: The lines, with a line break between them.
        rows: For lines that have cells side by side: the cells of every line.
        table: The table that this is, its text then being empty.
        margin: Whether it is a running head or foot, which no paragraph is interrupted by.
        code: Whether it is a listing, whose lines stay apart.
        turned: Whether it is set sideways, upside down or aslant, as a watermark is.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    size: int
    bold: bool
    text: str
    lines: int
    rows: list[list[Cell]] | None = None
    table: Table | None = None
    margin: bool = False
    code: bool = False
    turned: bool = False


@dataclass(slots=True)
class Table:
    """A table on one page; edges and size of its type in tenths of a point.

    Attributes:
        rows: Cells, with their line breaks.
        columns: Left edges of the columns.
        ends: Right edges of the columns.
        bold: Whether the first row is set in bold type, unlike the second.
        continues: Whether it goes on with that of the page before; it has no header then.
    """

    size: int
    rows: list[list[str]]
    columns: list[int]
    ends: list[int]
    bold: bool = False
    continues: bool = False


@dataclass(slots=True)
class RawPage:
    """One page before its structure is known.

    Attributes:
        number: Counted from 0.
        width, height: In points.
        pieces: In the order of the file, until `order.arrange` has put them right.
        vertical: Whether lines run from top to bottom.
        plain: The result of `text_cleanup.is_plain` for its text.
        comments: What readers have put on it, and values of fields that it does not show.
        hidden: How many comments are hidden from every reader, and were not read.
        heads: Running heads and feet that were taken from it.
        label: The number that is printed on it; empty if there is none.
        copied: Characters of text that is drawn again on the same spot, which were left out.
        unknown: Characters of words that the file gives no characters for, which are left out.
        numbered: Characters of the numbers of its lines, which were left out.
        undecoded: What MuPDF says of content of it that cannot be decoded; empty without such content.
    """

    number: int
    width: float
    height: float
    pieces: list[Piece] = field(default_factory=list)
    vertical: bool = False
    ocr: bool = False
    seconds: float = 0.0
    plain: bool = False
    copied: int = 0
    unknown: int = 0
    numbered: int = 0
    undecoded: str = ""
    heads: list[str] = field(default_factory=list)
    label: str = ""
    comments: list[Comment] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    hidden: int = 0

    @property
    def characters(self) -> int:
        """Characters on the page, white space not counted."""
        return sum(len("".join(piece.text.split())) for piece in self.pieces)

    def mirror(self) -> None:
        """Exchange left and right, so that rules for text from left to right apply to text from right to left."""
        width = int(self.width * SCALE)
        for piece in self.pieces:
            piece.x0, piece.x1 = width - piece.x1, width - piece.x0
            if piece.rows:
                piece.rows = [
                    [Cell(width - x1, width - x0, text) for x0, x1, text in row] for row in piece.rows
                ]


def letters_and_digits(text: str) -> str:
    """Return a text without spaces, signs and case, to compare it with another one."""
    return _NOT_WORDS.sub("", text).casefold()


def around(pieces: Iterable[Piece]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom edge of the rectangle around pieces."""
    x0, y0, x1, y1 = zip(*((piece.x0, piece.y0, piece.x1, piece.y1) for piece in pieces), strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def stacked(upper: Piece, lower: Piece, *, bold: bool) -> Piece:
    """Return two pieces, one below the other, as one in the size of the lower one."""
    text, lines = f"{upper.text}\n{lower.text}", upper.lines + lower.lines
    return Piece(*around([upper, lower]), lower.size, bold, text, lines)


def table_piece(box: tuple[int, int, int, int], table: Table) -> Piece:
    """Return the piece that a table is, which stands in this rectangle."""
    return Piece(*box, table.size, False, "", max(2, len(table.rows)), None, table)
