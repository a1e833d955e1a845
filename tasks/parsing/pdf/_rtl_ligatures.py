"""Put the letters of Arabic ligatures in their order: MuPDF gives "ال" where a ligature of "لا" is drawn.

A ligature is one glyph. MuPDF gives its first letter all of its width and the others none, at its right edge, and then
turns the line round, so that these stand before the first. It does so with the characters of Unicode for ligatures, and
with glyphs that the file maps to several letters.
"""

import re
from typing import Final

from prefect_ollama.tasks.parsing._split_between import split_between
from prefect_ollama.tasks.parsing.pdf._glyphs import Glyph, glyphs
from prefect_ollama.tasks.parsing.pdf._stext import TextBlock

# First bytes of Arabic letters in UTF-8. No other script that is written from right to left has ligatures of two
# letters.
_ARABIC: Final = bytes(range(0xD8, 0xDC))
_LETTER: Final = re.compile(r"[\u0620-\u064a\u066e-\u06d3]")
# The letters of a ligature without a width stand at its edge, in sizes of the type.
_AT_EDGE: Final = 0.02


def with_ligatures_in_order(blocks: list[TextBlock], text: bytes) -> list[TextBlock]:
    """Return the blocks of a page with the letters of ligatures in their order. `text` is all text in UTF-8."""
    if text.isascii() or len(text.translate(None, _ARABIC)) == len(text):
        return blocks
    return [
        block._replace(
            texts=[_in_order(glyphs(*each)) for each in zip(block.lines, block.texts, strict=True)]
        )
        if any(map(_LETTER.search, block.texts))
        else block
        for block in blocks
    ]


def _in_order(line: list[Glyph]) -> str:
    return "".join(letter.text for part in ligatures(line) for letter in reversed(part))


def ligatures(line: list[Glyph]) -> list[list[Glyph]]:
    """Divide a line into ligatures, whose last letter in MuPDF's order has all of their width, and single letters."""
    return list(split_between(line, lambda glyph, following: not _is_inner(glyph, following)))


def _is_inner(glyph: Glyph, following: Glyph) -> bool:
    """Return whether a letter belongs to the ligature that the next letter begins or continues."""
    edge = _AT_EDGE * glyph.size
    return (
        glyph.at > 0
        and glyph.x1 - glyph.x0 < edge
        and abs(following.x1 - glyph.x0) < edge
        and _LETTER.match(glyph.text) is not None
        and _LETTER.match(following.text) is not None
    )
