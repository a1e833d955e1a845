"""Join the parts of one heading: its lines, and the label of a chapter ("Chapter 4") with the title below it.

By itself a label would be a heading without text below it, and the end of the chapter before.
"""

import re
from typing import Final

from prefect_ollama.tasks.parsing.pdf._layout import Piece, stacked

# Maximum characters of a heading. A longer piece in large type is text.
MAX_HEADING_CHARACTERS: Final = 200
# The number of a section ("2.1"), from whose parts the level follows.
NUMBER: Final = re.compile(r"(?:§\s*)?(\d{1,3}(?:\.\d{1,3}){0,5})\.?\s+(?=\S)")
# Labels in languages of Europe and East Asia.
_LABEL: Final = re.compile(
    r"(?:chapter|part|appendix|annex|section|lecture|unit|kapitel|teil|anhang|chapitre|partie|annexe|cap[ií]tulo|parte|"
    r"capitolo|appendice|ap[eé]ndice|hoofdstuk|bijlage|bilaga|rozdział|kapitola|глава|часть|приложение)"
    r"\s+(?:\d{1,3}|[ivxlc]{1,7}|[a-z])\s*[.:–—-]?|第\s*[\d一二三四五六七八九十]{1,3}\s*[章部]",
    re.IGNORECASE,
)
# Maximum distance of a title from the label above it, in sizes of its type.
_FAR: Final = 5


def labels_joined(pieces: list[Piece], levels: dict[int, int]) -> list[Piece]:
    """Return the pieces of a page with labels joined to their titles.

    Args:
        pieces: The pieces in reading order.
        levels: Levels of headings, by `id()` of their pieces. The dictionary is changed in place.
    """
    joined: list[Piece] = []
    for piece in pieces:
        label = joined[-1] if joined else None
        if (
            label is not None
            and id(label) in levels
            and id(piece) in levels
            and _LABEL.fullmatch(label.text.strip())
            and 0 < piece.y1 - label.y1 < _FAR * piece.size
            and label.size <= 1.5 * piece.size
        ):
            joined[-1] = stacked(label, piece, bold=piece.bold)
            levels[id(joined[-1])] = min(levels.pop(id(label)), levels.pop(id(piece)))
        else:
            joined.append(piece)
    return joined


def lines_joined(pieces: list[Piece], larger: float) -> list[Piece]:
    """Join the lines of a heading, because MuPDF makes a block of each line in large type."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if (
            last is not None
            and piece.size > larger
            and not (piece.rows or piece.table or last.rows or last.table)
            and piece.size == last.size
            and piece.bold == last.bold
            and -piece.size < piece.y0 - last.y1 < 0.5 * piece.size
            and piece.x0 < last.x1
            and piece.x1 > last.x0
            and len(last.text) + len(piece.text) < MAX_HEADING_CHARACTERS
            and not NUMBER.match(piece.text)
        ):
            joined[-1] = stacked(last, piece, bold=last.bold)
        else:
            joined.append(piece)
    return joined
