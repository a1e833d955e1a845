"""The lines of a page that may hold copies of text: they overlap, or their letters stand twice."""

import re
from operator import itemgetter, sub
from typing import Final

from prefect_ollama.tasks.parsing.pdf._stext import TextBlock

# Maximum distance of a copy from its text, in sizes of the type.
SHADOW: Final = 0.3

# Lines overlap by so much of their height, and for so long, in sizes of the type.
_OVERLAP: Final = 0.6
_LENGTH: Final = 0.4
_baseline, _size = itemgetter(4), itemgetter(5)
# Each letter drawn twice or thrice in a row shows as doubled letters in the text.
_LETTER: Final = r"([^\W\d_])"
_DOUBLED: Final = re.compile(rf"{_LETTER}\1{_LETTER}\2{_LETTER}\3|{_LETTER}\4\4{_LETTER}\5\5")
# The same, where 0 stands for a byte that equals the next one.
_SAME: Final = re.compile(rb"\x00(?:.\x00.\x00|\x00.\x00\x00)", re.DOTALL)
# Maps letters to 0, and also "?", which stands for signs beyond Latin-1.
_NO_LETTERS: Final = bytes(
    each < 0x80 and each != ord("?") and not chr(each).isalpha() for each in range(256)
)

# Number of a block and of a line in it.
Place = tuple[int, int]


def suspicious_lines(blocks: list[TextBlock], text: bytes) -> set[Place]:
    """Return the lines that may hold copies; most pages have no such lines. `text` is all text of the page in UTF-8."""
    places = _overlapping(blocks) if _may_overlap(blocks) else set()
    if _has_doubled_letters(text):
        places |= {
            (i, k)
            for i, block in enumerate(blocks)
            for k, line in enumerate(block.texts)
            if _DOUBLED.search(line)
        }
    return places


def _may_overlap(blocks: list[TextBlock]) -> bool:
    """Return whether two lines stand on nearly the same height, in columns at least; asked for every page."""
    lines = [line for block in blocks for line in block.lines]
    if len(lines) < 2:
        return False
    heights = sorted(map(_baseline, lines))
    nearest: float = min(map(sub, heights[1:], heights))
    largest: float = max(map(_size, lines))
    return nearest < SHADOW * largest


def _has_doubled_letters(text: bytes) -> bool:
    """Return whether three letters in a row occur twice each, or two occur thrice each, as where each is drawn so."""
    if not _has_doubled(text):
        return False
    # Dashes and spaces occur so in most listings and tables.
    signs = text if text.isascii() else text.decode("utf-8", "replace").encode("latin-1", "replace")
    return _has_doubled(signs, signs.translate(_NO_LETTERS))


def _has_doubled(text: bytes, excluded: bytes = b"") -> bool:
    """Return whether bytes occur so, where those of `excluded` are 0.

    One comparison of all bytes with the next ones, which takes a tenth of the time of a regular expression alone.
    """
    number = int.from_bytes(text, "little")
    differ = number ^ (number >> 8) | int.from_bytes(excluded, "little")
    # The last letter has none after it.
    return _SAME.search(differ.to_bytes(len(text) + 1, "little")[:-2]) is not None


def _overlapping(blocks: list[TextBlock]) -> set[Place]:
    """Return the lines that share a good part of their place with another."""
    found: set[Place] = set()
    active: list[tuple[float, float, float, float, float, Place]] = []
    lines = sorted(
        (line[1], line[0], line[2], line[3], line[5], (i, k))
        for i, block in enumerate(blocks)
        for k, line in enumerate(block.lines)
    )
    for each in lines:
        y0, x0, x1, y1, size, place = each
        least = _LENGTH * size
        if active and active[0][3] <= y0:
            active = [other for other in active if other[3] > y0]
        for top, left, right, foot, _, other in active:
            # Without `min` and `max` for most lines: pages of tables have hundreds that share a height.
            wide = (x1 if x1 < right else right) - (x0 if x0 > left else left)
            if wide <= least:
                continue
            high = min(y1, foot) - max(y0, top)
            if high > least and (
                high > _OVERLAP * min(y1 - y0, foot - top) or wide > _OVERLAP * min(x1 - x0, right - left)
            ):
                found |= {place, other}
        active.append(each)
    return found
