"""Join the parts of a paragraph that MuPDF takes for blocks of their own.

MuPDF begins a block where a line is set in, as the second line of a point of a list is, and where the left edge is
uneven. A part that ends in the middle of a sentence at the end of a full line goes on with the next one, if that begins
in lower case, or if one of them is written in signs of East Asia, which have no case.
"""

import re
from collections import Counter
from itertools import pairwise
from typing import Final

from prefect_ollama.tasks.parsing.pdf._layout import Piece, RawPage, stacked
from prefect_ollama.tasks.parsing.pdf._paragraph_breaks import BULLETS

# Lengths are in sizes of the type. A line is full if it ends no farther from the right edge of its column.
_FULL: Final = 3.0
# Maximum distance of the left edges of parts in one column: points of lists are indented.
_SET_IN: Final = 5.0
# Space between two lines, unless the text is set with wider spaces.
_CLOSE: Final = 0.7
# So many lines must have another space between them to show that the text is set so, in tenths of a point each.
_MIN_LINES: Final = 5
_STEP: Final = 10
# No text has more space between its lines.
_WIDEST: Final = 1.5
# Type that is larger than the text by this factor is that of headings, whose lines are joined by `_headings`.
_LARGER: Final = 1.12
# A sign before a point of a list may be smaller than its text.
_OTHER_SIZE: Final = 1.5
# The number of a point, in lower case, and the end of a sentence or of its part.
_NUMBER: Final = re.compile(r"\(?(?:[a-z]|[ivx]{1,4})[.)]\s")
_OPEN_END: Final = re.compile(r"[\w,’'”\"\-‐–—&/，、]\s*$")
# Chinese signs, Japanese and Korean letters, and commas between them.
_EAST_ASIAN: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af，、]")


def join_parts_of_paragraphs(pages: list[RawPage], body_size: int) -> None:
    """Join parts of paragraphs on each page, in place.

    Args:
        pages: All pages, their pieces in reading order.
        body_size: Size of the type that most of the text is set in, in tenths of a point.
    """
    gaps = _usual_gaps(pages, body_size)
    for page in pages:
        if len(page.pieces) > 1 and not page.vertical:
            page.pieces = _joined(page.pieces, body_size, gaps)


def _usual_gaps(pages: list[RawPage], body_size: int) -> dict[int, float]:
    """Return for each size of type the space that may be between two lines of a paragraph."""
    counted: Counter[tuple[int, int]] = Counter()
    for page in pages:
        for first, second in pairwise(page.pieces):
            if second.y0 > first.y1 and _may_go_on(first, second, body_size):
                counted[second.size, (second.y0 - first.y1) // _STEP] += 1
    gaps: dict[int, float] = {}
    for (size, step), times in counted.most_common():
        if times >= _MIN_LINES:
            gaps.setdefault(size, min((step + 2) * _STEP, _WIDEST * size))
    return gaps


def _joined(pieces: list[Piece], body_size: int, gaps: dict[int, float]) -> list[Piece]:
    joined = pieces[:1]
    last = pieces[0]
    for piece in pieces[1:]:
        first = joined[-1]
        if (
            -0.5 * piece.size < piece.y0 - last.y1 < max(_CLOSE * piece.size, gaps.get(piece.size, 0))
            and piece.x0 < last.x1
            and piece.x1 > last.x0
            and _may_go_on(first, piece, body_size)
            and last.x1 > _right_edge(pieces, last) - _FULL * piece.size
        ):
            joined[-1] = stacked(first, piece, bold=first.bold)
        else:
            joined.append(piece)
        last = piece
    return joined


def _may_go_on(first: Piece, second: Piece, body_size: int) -> bool:
    """Return whether the text and the type of two pieces may be those of one paragraph."""
    bullet = first.text[:1] in BULLETS
    return (
        _begins_within(first.text, second.text[:1])
        and not (first.rows or second.rows or first.table or second.table or first.margin or second.margin)
        and not (first.code or second.code)
        and second.size <= _LARGER * body_size
        and (first.bold == second.bold or bullet)
        and max(first.size, second.size) <= (_OTHER_SIZE if bullet else 1.02) * min(first.size, second.size)
        and _OPEN_END.search(first.text[-8:]) is not None
        and _NUMBER.match(second.text) is None
    )


def _begins_within(before: str, letter: str) -> bool:
    """Return whether a letter may begin a line within a sentence."""
    if letter.islower() or not letter.isalpha():
        return letter.islower()
    around = before[-2:] + letter
    return not around.isascii() and _EAST_ASIAN.search(around) is not None


def _right_edge(pieces: list[Piece], piece: Piece) -> int:
    """Return where the lines end that begin near the left edge of a piece."""
    return max(other.x1 for other in pieces if abs(other.x0 - piece.x0) <= _SET_IN * piece.size)
