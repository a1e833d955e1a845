"""Find where a paragraph, a point of a list or a row of cells begins among the lines of a block."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from prefect_ollama.tasks.parsing.pdf._lines import RIGHT_TO_LEFT, Lines

# Signs that begin a point of a list.
BULLETS: Final = frozenset("•◦‣▪▫■□●○–—-*·➢➤✓∙⁃")
# A point of a numbered list: 1. a) (iv).
_NUMBERED: Final = re.compile(r"\(?(?:\d{1,3}|[a-z]|[ivx]{1,4})[.)] ")
# Characters with which a sentence may end. A paragraph that ends without one continues.
_PARAGRAPH_ENDS: Final = tuple('.!?:;…。！？"”’»)')


def borders(lines: Lines) -> Iterator[int]:
    """Yield the numbers of the lines that begin a new piece."""
    text, sizes, bold, cells = lines.text, lines.size, lines.bold, lines.cells
    # A line from right to left begins at its right edge. With mirrored edges, the same rules apply to both.
    if RIGHT_TO_LEFT.search(text[0]):
        begins, ends = [-x for x in lines.x1], [-x for x in lines.x0]
    else:
        begins, ends = list(lines.x0), list(lines.x1)
    begins, ends = begins[: len(text)], ends[: len(text)]
    left, right = min(begins), max(ends)
    centred = _centred(begins, ends, left, right, sizes[0])
    one_type = not cells and max(sizes) <= 1.01 * min(sizes) and len(set(bold)) == 1
    full = right - 0.1 * (right - left) - sizes[0]
    step = 0.8 * sizes[0]
    start = 0
    for i in range(1, len(text)):
        moved = begins[i] - begins[i - 1]
        short = ends[i - 1] < full
        first = text[i][:1]
        if one_type and not short and -step <= moved <= step and first not in BULLETS:
            continue  # most lines end here
        size = sizes[i - 1]
        if text[i - 1].isspace() and not text[i].isspace():
            border = i - 1 > start  # word processors put an empty line between paragraphs
        elif cells and (i in cells) != (i - 1 in cells):
            border = True
        elif cells and i in cells:
            border = False
        elif abs(sizes[i] - size) > 0.1 * size:
            border = True
        elif bold[i] != bold[i - 1]:
            border = short or text[i - 1].rstrip().endswith(_PARAGRAPH_ENDS)
        elif first in BULLETS and text[i][1:2] in (" ", "\xa0", ""):
            border = True
        elif centred:
            border = False
        elif moved > 0.8 * size:
            # Indented: the first line of a paragraph, unless the piece hangs from a bullet or a number.
            border = (short or text[i - 1].rstrip().endswith(_PARAGRAPH_ENDS)) and not (
                i - 1 == start and _hangs(text[start])
            )
        elif moved < -0.8 * size:
            # Outdented: the second line of a paragraph with an indented first line, or the end of a hanging piece.
            border = i - 1 != start or short
        else:
            ended = text[i - 1].rstrip().endswith(_PARAGRAPH_ENDS)
            border = (short and ended) or ((short or ended) and _NUMBERED.match(text[i]) is not None)
        if border:
            yield i
            start = i


def _hangs(text: str) -> bool:
    return text[:1] in BULLETS or _NUMBERED.match(text) is not None


def _centred(begins: Sequence[float], ends: Sequence[float], left: float, right: float, size: float) -> bool:
    return max(begins) - left > size and all(
        abs(x0 + x1 - left - right) < size for x0, x1 in zip(begins, ends, strict=True)
    )
