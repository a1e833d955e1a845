"""The characters of a line as they are drawn, read from MuPDF's memory."""

from __future__ import annotations

from math import hypot
from typing import Final, NamedTuple

from prefect_ollama.tasks.parsing.pdf._stext import GLYPH, MEMORY, Line

_SYNTHETIC: Final = 4  # FZ_STEXT_SYNTHETIC


class Glyph(NamedTuple):
    """One character of a line as it is drawn, in points.

    Attributes:
        text: The character.
        x: Its origin.
        y: Its origin, on the baseline.
        x0: Left edge.
        x1: Right edge.
        width: How far it moves on the place where the next one is drawn.
        right: Horizontal part of the direction of its line, 1 for upright text from left to right.
        down: Vertical part of it.
        size: Size of its type.
        at: Address of it, 0 where unknown.
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
    places = ((character, line[0] + i * step) for i, character in enumerate(text))
    return [Glyph(character, x, line[4], x, x + step, step, 1.0, 0.0, size, 0) for character, x in places]
