"""The characters of a line as they are drawn, read from MuPDF's memory."""

from itertools import pairwise
from math import hypot
from struct import Struct
from typing import Final, NamedTuple

from prefect_ollama.tasks.parsing.pdf._stext import GLYPH, MEMORY, Line

_SYNTHETIC: Final = 4  # FZ_STEXT_SYNTHETIC
# Left edge, right edge, next character, at the same places as in `GLYPH`: tables need nothing else of their characters.
_EDGES: Final = Struct("@20xf4xf32xP")


class Glyph(NamedTuple):
    """One character of a line as it is drawn, in points.

    Attributes:
        x, y: Its origin, on the baseline.
        x0, x1: Left and right edge.
        width: How far it moves on the place where the next one is drawn.
        right, down: Direction of its line; 1 and 0 for upright text from left to right.
        at: Address of it, 0 if unknown.
        written: Whether the file holds it; MuPDF puts spaces where it sees gaps.
    """

    text: str
    x: float
    y: float
    x0: float
    x1: float
    width: float
    right: float
    down: float
    size: float
    at: int
    written: bool = True


def glyphs(line: Line, text: str) -> list[Glyph]:
    """Return the characters of a line, as long as its page is there; their places are guessed where unknown."""
    at = line[8]
    found: list[Glyph] = []
    while at:
        flags, x, y, left, upper, right, upper_right, size, following = GLYPH.unpack_from(MEMORY, at)
        width = hypot(right - left, upper_right - upper)
        ahead, down = ((right - left) / width, (upper_right - upper) / width) if width else (1.0, 0.0)
        written = not flags & _SYNTHETIC
        found.append(Glyph("", x, y, left, right, width, ahead, down, max(size, 0.01), at, written))
        at = following
    if len(found) == len(text):
        return [glyph._replace(text=character) for glyph, character in zip(found, text, strict=True)]
    step, size = (line[2] - line[0]) / max(1, len(text)), max(line[5], 0.01)
    places = [line[0] + i * step for i in range(len(text) + 1)]
    return [
        Glyph(character, x0, line[4], x0, x1, step, 1.0, 0.0, size, 0)
        for character, (x0, x1) in zip(text, pairwise(places), strict=True)
    ]


def edges(line: Line, text: str) -> list[tuple[float, float]]:
    """Return the left and right edge of every character of a line, in points; guessed as by `glyphs`."""
    at = line[8]
    found = []
    while at:
        x0, x1, at = _EDGES.unpack_from(MEMORY, at)
        found.append((x0, x1))
    return found if len(found) == len(text) else [(glyph.x0, glyph.x1) for glyph in glyphs(line, text)]
