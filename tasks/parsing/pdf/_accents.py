"""Put accents on their letters: TeX's older fonts have no ä, so that files hold "¨a", drawn one above the other.

Only its place distinguishes such an accent from a sign of the text: "l´amour" with a wrong apostrophe, "h^alpha" in
code. The letter and its accent become a letter and a combining mark, so that the text keeps its length.
"""

import unicodedata
from itertools import pairwise
from typing import Final

from prefect_ollama.tasks.parsing.pdf._glyphs import Glyph, glyphs
from prefect_ollama.tasks.parsing.pdf._stext import TextBlock

# Accents as signs of their own, and as marks that combine with the letter before them.
_MARKS: Final = {
    "`": "\u0300",
    "´": "\u0301",
    "ˆ": "\u0302",
    "˜": "\u0303",
    "¯": "\u0304",
    "˘": "\u0306",
    "˙": "\u0307",
    "¨": "\u0308",
    "˚": "\u030a",
    "˝": "\u030b",
    "ˇ": "\u030c",
    "¸": "\u0327",
}
_SIGNS: Final = frozenset(_MARKS)
# The accents in UTF-8, and the bytes with which they begin, for a fast test of a page: single bytes are found fastest.
_BYTES: Final = tuple(sign.encode() for sign in _MARKS)
_FIRST_BYTES: Final = frozenset(sign[:1] for sign in _BYTES)
# The middle of an accent is no farther from that of its letter, in sizes of the type: italic type moves it.
_ABOVE: Final = 0.2
# Letters without a dot, which get an accent in its place.
_WITHOUT_DOT: Final = {"ı": "i", "ȷ": "j"}


def with_accents(blocks: list[TextBlock], text: bytes) -> tuple[list[TextBlock], bytes]:
    """Return the blocks of a page with accents on their letters, and all their text in UTF-8.

    Args:
        blocks: The blocks.
        text: Their text in UTF-8, a line for each line and an empty one after each block.
    """
    if not any(byte in text for byte in _FIRST_BYTES) or not any(sign in text for sign in _BYTES):
        return blocks, text
    found = [
        block._replace(
            texts=[
                line if _SIGNS.isdisjoint(line) else _with_accents(glyphs(place, line))
                for place, line in zip(block.lines, block.texts, strict=True)
            ]
        )
        for block in blocks
    ]
    lines = (line for block in found for line in (*block.texts, ""))
    return found, "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _with_accents(line: list[Glyph]) -> str:
    letters = [glyph.text for glyph in line]
    for i, (accent, letter) in enumerate(pairwise(line)):
        mark = _MARKS.get(accent.text)
        if mark is not None and letter.text.isalpha() and _is_above(accent, letter):
            base = _WITHOUT_DOT.get(letter.text, letter.text)
            if len(unicodedata.normalize("NFC", base + mark)) == 1:
                letters[i : i + 2] = base, mark
    return "".join(letters)


def _is_above(accent: Glyph, letter: Glyph) -> bool:
    """Return whether an accent is drawn where the letter after it is, and not before it."""
    return accent.at > 0 and abs(accent.x0 + accent.x1 - letter.x0 - letter.x1) < 2 * _ABOVE * letter.size
