"""Listings of code and of terminals: lines in monospaced type, which keep their line breaks and their columns."""

import re
from collections import Counter
from typing import Final

from prefect_ollama.tasks.parsing._split_between import split_between
from prefect_ollama.tasks.parsing.pdf._glyphs import edges
from prefect_ollama.tasks.parsing.pdf._layout import SCALE, Piece
from prefect_ollama.tasks.parsing.pdf._stext import FONT, GLYPH, LINK, MEMORY, Line, TextBlock

# Names of monospaced fonts: many files leave out that they are. Letters that stand in columns prove it.
_MONOSPACED: Final = re.compile(rb"mono(?!t)|cour|consol|typewr|menlo|fixed|tt(?:b?\d|[-_\0])", re.IGNORECASE)
# A file with a larger share of monospaced type, up to the page that is read, is typewritten, and its lines are prose.
_TYPEWRITTEN: Final = 0.6
# Largest distance of two blocks of one listing, in sizes of the type: an empty line, or a line set in.
_CLOSE: Final = 1.6
# Maximum distance of a letter from its column, in widths of a letter. Cells of a table stand between the columns.
_OFF: Final = 0.2
# Maximum vertical distance of parts of one line, in sizes of the type.
_LEVEL: Final = 0.3
# Spaces that are put into a line at most: a letter may stand anywhere in a hostile file.
_WIDEST: Final = 200
# Share of the lines of a listing that may have other text beside them. Names in a table have it on all of theirs.
_BESIDE: Final = 0.5
# Distance of two lines with an empty one between them, in distances of the first two.
_EMPTY: Final = 1.6


class Listings:
    """Finds the listings on the pages of one file, which come in their order."""

    def __init__(self) -> None:
        self._characters = self._monospaced = 0

    def apart(self, blocks: list[TextBlock], characters: int) -> list[TextBlock | Piece]:
        """Make a piece of each listing among the blocks of a page that has so many characters, at its place."""
        fonts: dict[int, bool] = {}
        monospaced = {id(block) for block in blocks if _is_monospaced(block, fonts)}
        self._characters += characters
        if not monospaced:
            return list(blocks)
        self._monospaced += sum(sum(map(len, each.texts)) for each in blocks if id(each) in monospaced)
        if self._monospaced > _TYPEWRITTEN * self._characters:
            return list(blocks)
        levels = Counter([round(line[4]) for block in blocks for line in block.lines])
        found: list[TextBlock | Piece] = []
        for run in split_between(
            blocks, lambda above, below: not ({id(above), id(below)} <= monospaced and _goes_on(above, below))
        ):
            listing = _listing(run, levels) if id(run[0]) in monospaced else None
            found += run if listing is None else [listing]
        return found


def _is_monospaced(block: TextBlock, fonts: dict[int, bool]) -> bool:
    """Return whether all lines begin with a letter of a monospaced font."""
    for line in block.lines:
        if not line[8]:
            return False
        _, font, _ = LINK.unpack_from(MEMORY, line[8])
        monospaced = fonts.get(font)
        if monospaced is None:
            name, flags = FONT.unpack_from(MEMORY, font)
            monospaced = fonts[font] = bool(flags & 1) or _MONOSPACED.search(name) is not None
        if not monospaced:
            return False
    return True


def _goes_on(above: TextBlock, below: TextBlock) -> bool:
    size = above.lines[0][5]
    return (
        -_LEVEL * size < below.y0 - above.y1 < _CLOSE * size and abs(below.lines[0][5] - size) < 0.01 * size
    )


def _listing(run: list[TextBlock], levels: Counter[int]) -> Piece | None:
    """Return the piece of a listing; None if the lines do not stand in columns of letters, or stand beside others.

    Args:
        levels: How many lines the page has on each height.
    """
    lines = [pair for block in run for pair in zip(block.lines, block.texts, strict=True)]
    x0, x1 = min(block.x0 for block in run), max(block.x1 for block in run)
    first = lines[0][0]
    _, _, _, left, _, right, *_ = GLYPH.unpack_from(MEMORY, first[8])
    size, pitch = first[5], right - left
    texts: list[str] = []
    baseline = end = 0.0
    step = size
    for line, text in lines:
        level = bool(texts) and abs(line[4] - baseline) < _LEVEL * size
        spaces = _columns(line[0] - (end if level else x0), pitch)
        if spaces is None or line[7] or not (spaced := _spaced(line, text, pitch)):
            return None
        if level:
            texts[-1] += " " * spaces + spaced
        else:
            if len(texts) == 1:
                step = line[4] - baseline
            texts += [""] * (len(texts) > 1 and line[4] - baseline > _EMPTY * step)
            texts.append(" " * spaces + spaced)
        baseline, end = line[4], line[2]
    own = Counter([round(line[4]) for line, _ in lines])
    beside = sum(levels[level] > count for level, count in own.items())
    if len(texts) < 2 or beside > _BESIDE * len(own):
        return None
    box = (int(SCALE * x0), int(SCALE * run[0].y0), int(SCALE * x1), int(SCALE * run[-1].y1))
    return Piece(*box, max(1, int(SCALE * size)), False, "\n".join(texts), len(texts), code=True)


def _columns(width: float, pitch: float) -> int | None:
    """Return how many letters have this width; None if that is no whole number."""
    count = width / pitch if pitch > 0 else -1.0
    if not -_OFF < count < _WIDEST:
        return None
    whole = round(count)
    return whole if abs(count - whole) < _OFF else None


def _spaced(line: Line, text: str, pitch: float) -> str | None:
    """Return the text of a line with a space for each empty column; None if a letter stands between columns."""
    if abs((line[2] - line[0]) / pitch - len(text)) < _OFF:
        return text.rstrip()
    found, end = "", line[0]
    for letter, (x0, x1) in zip(text, edges(line, text), strict=True):
        if letter.isspace():
            continue
        spaces = _columns(x0 - end, pitch)
        if spaces is None or not _columns(x1 - x0, pitch):
            return None
        found, end = f"{found}{' ' * spaces}{letter}", x1
    return found
