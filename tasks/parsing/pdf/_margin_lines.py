"""The lines at the top and bottom of pages, among which running heads and page numbers are."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from prefect_ollama.tasks.parsing._split_between import split_between
from prefect_ollama.tasks.parsing.pdf._layout import SCALE, Piece, RawPage
from prefect_ollama.tasks.parsing.pdf._page_number import PageNumber, page_number

_y1 = attrgetter("y1")

# Minimum number of pages with a repeated line.
MIN_PAGES: Final = 3

# Maximum vertical distance of lines at one height, in tenths of a point.
SAME_HEIGHT: Final = 40

# Type that is larger than this, in sizes of the text's type, is that of a title.
TITLE_SIZE: Final = 1.15

# How much of a page at its top and bottom is searched, and for how many pieces.
_BAND: Final = 0.13
_MAX_MARGIN_LINES: Final = 3
# Characters of a page number, with what frames it.
_MAX_NUMBER_CHARACTERS: Final = 16
# A repeated line stands on at least one of this many pages, because a line of code that is sometimes at a foot is text.
# Left and right pages may have different heads, and the first pages of chapters often have no head.
_ONE_OF: Final = 3
# Numbers alone that are greater than this and than twice the number of pages may be those of years or invoices.
_MAX_NUMBER: Final = 999


@dataclass(slots=True, eq=False)
class MarginLine:
    """A line at the top or bottom of a page that may repeat.

    Attributes:
        rule: "header" or "footer".
        number: The page number that it may hold.
    """

    rule: str
    page: RawPage
    piece: Piece
    text: str
    number: PageNumber | None

    @property
    def height(self) -> int:
        """Its top edge, in tenths of a point."""
        return self.piece.y0


def margin_lines(page: RawPage) -> Iterator[MarginLine]:
    """Return the first pieces within the top of the page and the last ones within its bottom, of two lines at most.

    Turned pieces may repeat anywhere: a watermark stands across the text of its page.
    """
    turned = [piece for piece in page.pieces if piece.turned and piece.lines <= 2]
    pieces = [piece for piece in page.pieces if not piece.turned] if turned else page.pieces
    top, bottom = page.height * _BAND * SCALE, page.height * (1 - _BAND) * SCALE
    high = [piece for piece in pieces if piece.y1 <= top and piece.lines <= 2 and not piece.table]
    low = [piece for piece in pieces if piece.y0 >= bottom and piece.lines <= 2 and not piece.table]
    if len(high) > _MAX_MARGIN_LINES:
        high = sorted(high, key=lambda piece: piece.y0)[:_MAX_MARGIN_LINES]
    if len(low) > _MAX_MARGIN_LINES:
        low = sorted(low, key=lambda piece: -piece.y1)[:_MAX_MARGIN_LINES]
    low += _number_after_text(pieces, low)
    for rule, found in (("header", high), ("footer", low), ("header", turned)):
        for piece in found:
            text = " ".join(piece.text.split())
            yield MarginLine(rule, page, piece, text, page_number(text, piece.rows))


def _number_after_text(pieces: list[Piece], low: list[Piece]) -> list[Piece]:
    """Return the number at the end of a page with text down to its middle only, as in pages printed from HTML."""
    last = max(pieces, key=_y1, default=None)
    if last is not None and not (last.table or last.text.strip()):
        last = max((piece for piece in pieces if piece.table or piece.text.strip()), key=_y1, default=None)
    if last is None or last.table or last.lines > 1 or len(last.text) > _MAX_NUMBER_CHARACTERS:
        return []
    if any(piece is last for piece in low) or page_number(" ".join(last.text.split())) is None:
        return []
    return [last]


def at_one_height(found: list[MarginLine]) -> Iterator[list[MarginLine]]:
    """Divide by height on the page, each part in the order of pages."""
    found = sorted(found, key=lambda line: line.height)
    for group in split_between(found, lambda above, line: line.height - above.height > SAME_HEIGHT):
        yield sorted(group, key=lambda line: line.page.number)


def is_dense(pages: set[int]) -> bool:
    """Return whether pages are close to each other, as those with one running head are."""
    return _ONE_OF * len(pages) > max(pages) - min(pages)


def is_outermost(line: MarginLine) -> bool:
    """Return whether a line is the first of its page, or the last."""
    piece = line.piece
    if line.rule == "header":
        return all(other.y0 >= piece.y0 - SAME_HEIGHT for other in line.page.pieces)
    return all(other.y1 <= piece.y1 + SAME_HEIGHT for other in line.page.pieces)


def find_page_numbers(lines: list[MarginLine], count: int, body_size: int) -> dict[int, str]:
    """Find the lines whose number is that of their page, by `id()`, each with the first line of its row of numbers.

    A page number goes up by one with every page; where it starts from is the book's own.
    """
    by_offset: defaultdict[int, list[MarginLine]] = defaultdict(list)
    for line in lines:
        if line.number is not None:
            by_offset[line.number.value - line.page.number].append(line)
    found: dict[int, str] = {}
    for offset, same in by_offset.items():
        pages = {line.page.number for line in same}
        if len(pages) >= MIN_PAGES:
            if not is_dense(pages):
                continue
        elif offset != 1 or count >= MIN_PAGES:
            continue
        like = next((line for line in same if line.number and not line.number.rest), same[0]).text
        for line in same:
            # In a file of one or two pages, a number alone counts as a page number only if both pages have one.
            certain = len(pages) >= 2
            if _is_page_number(line, count, certain, body_size):
                found[id(line)] = like
            elif certain and line.number is not None and not line.number.rest:
                line.piece.margin = line.piece.size <= TITLE_SIZE * body_size
    return found


def _is_page_number(line: MarginLine, count: int, certain: bool, body_size: int) -> bool:
    """Return whether a number that grows with the pages is their number, not that of an invoice, month or year."""
    number = line.number
    if number is None:
        return False
    if number.labelled:
        return True
    if number.of:
        return number.value <= number.of <= count + MIN_PAGES
    if number.rest:
        return 1 <= number.value <= count + MIN_PAGES
    # The number that stands large above a page is its title.
    return (
        certain and number.value <= max(_MAX_NUMBER, 2 * count) and line.piece.size <= TITLE_SIZE * body_size
    )
