"""Put the words of lines that are written from right to left in their order, and divide these lines at wide gaps.

MuPDF gives the letters of such words in their order, but the words, numbers and signs of a line often in the order in
which the file draws them, and cells that stand side by side as one line.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prefect_ollama.tasks.parsing._split_between import split_between
from prefect_ollama.tasks.parsing.pdf._glyphs import Glyph, glyphs
from prefect_ollama.tasks.parsing.pdf._lines import LATIN, RIGHT_TO_LEFT, is_right_to_left
from prefect_ollama.tasks.parsing.pdf._rtl_ligatures import ligatures
from prefect_ollama.tasks.parsing.pdf._stext import Line, TextBlock, block_of

# First bytes of letters of these scripts in UTF-8.
_BYTES: Final = bytes((*range(0xD6, 0xE1), 0xEF))
# Numbers are written from left to right, with the signs that belong to them, and so is code with its signs.
_NUMBER: Final = re.compile(r"[\d%$€£٪₪]")
_CODE: Final = re.compile(r"[\\@#_{}&/*+=~^|<>]")
# Brackets are drawn as those that they look like.
_BRACKETS: Final = str.maketrans("()[]{}<>«»", ")(][}{><»«")
# Lengths are in sizes of the type. Only one letter of a ligature is as wide as this.
_NARROW: Final = 0.02
# Letters of one word stand no farther apart, and cover each other no more.
_CLOSE: Final = 0.3
_OVER: Final = -0.6
# Smallest space between two words, and between two cells.
_SPACE: Final = 0.12
_CELL: Final = 1.0


@dataclass(slots=True)
class _Part:
    """Letters of a word in one direction, or signs.

    Attributes:
        x0, x1: Left and right edge, in points.
        at: Address of its first letter.
        ltr: Whether it runs from left to right; None for signs.
        spaced: Whether a space stands right of it.
    """

    text: str
    x0: float
    x1: float
    size: float
    at: int
    ltr: bool | None
    spaced: bool = False


def in_reading_order(blocks: list[TextBlock], text: bytes) -> list[TextBlock]:
    """Return the blocks of a page with its lines in their order. `text` is all text in UTF-8."""
    if text.isascii() or len(text.translate(None, _BYTES)) == len(text):
        return blocks
    rtl_page = is_right_to_left(text.decode("utf-8", "replace"))
    return [
        _block(block, rtl_page) if any(map(RIGHT_TO_LEFT.search, block.texts)) else block for block in blocks
    ]


def _block(block: TextBlock, rtl_page: bool) -> TextBlock:
    lines: list[Line] = []
    texts: list[str] = []
    for line, text in zip(block.lines, block.texts, strict=True):
        for part_line, part in _cells(line, text, rtl_page):
            lines.append(part_line)
            texts.append(part)
    return block._replace(texts=texts) if len(lines) == len(block.lines) else block_of(lines, texts)


def _cells(line: Line, text: str, rtl_page: bool) -> Iterator[tuple[Line, str]]:
    """Divide a line into cells, from right to left.

    On a page that is mostly written from left to right, a line with Latin words or a number at its left stays whole.
    """
    letters = glyphs(line, text) if is_right_to_left(text) and (rtl_page or not LATIN.search(text)) else []
    if not letters or any(not glyph.at or glyph.down for glyph in letters):
        yield line, text
        return
    parts: list[_Part] = []
    spaced = False
    for part in sorted(_parts(letters), key=lambda part: part.x0 + part.x1, reverse=True):
        if part.text.isspace():
            spaced = True
        else:
            part.spaced = spaced or (bool(parts) and parts[-1].x0 - part.x1 > _SPACE * part.size)
            parts.append(part)
            spaced = False
    if not rtl_page and parts[-1].ltr and parts[-1].text.isascii():
        yield line, text
        return
    for cell in split_between(parts, lambda right, left: right.x0 - left.x1 > _CELL * line[5]):
        x0, x1 = min(part.x0 for part in cell), max(part.x1 for part in cell)
        yield (x0, line[1], x1, *line[3:8], cell[0].at), _text(cell)


def _parts(letters: list[Glyph]) -> Iterator[_Part]:
    part: _Part | None = None
    for group in ligatures(letters):
        text, glyph = "".join(letter.text for letter in group), group[-1]
        if part is not None and not text.isspace() and _goes_on(part, text, glyph):
            part.text += text
            part.x0, part.x1 = min(part.x0, glyph.x0), max(part.x1, glyph.x1)
        else:
            if part is not None:
                yield part
            part = _Part(text, glyph.x0, glyph.x1, glyph.size, glyph.at, _is_ltr(text))
    if part is not None:
        yield part


def _is_ltr(text: str) -> bool | None:
    if _NUMBER.match(text) or _CODE.match(text) or (text.isalpha() and not RIGHT_TO_LEFT.match(text)):
        return True
    return False if RIGHT_TO_LEFT.match(text) else None


def _goes_on(part: _Part, text: str, glyph: Glyph) -> bool:
    if part.text.isspace():
        return False
    # A mark, or the further letter of a ligature.
    if unicodedata.combining(text[0]) or (part.ltr is False and glyph.x1 - glyph.x0 < _NARROW * part.size):
        return True
    ltr = _is_ltr(text)
    gap = glyph.x0 - part.x1 if ltr else part.x0 - glyph.x1
    return ltr is not None and ltr is part.ltr and _OVER * part.size < gap < _CLOSE * part.size


def _text(cell: list[_Part]) -> str:
    """Return the text of parts in right-to-left order. Runs of left-to-right parts are reversed."""
    text = ""
    i = 0
    while i < len(cell):
        end = i + 1
        if cell[i].ltr:
            last = i
            while end < len(cell) and cell[end].ltr is not False:
                if cell[end].spaced and _are_numbers(cell[last], cell[end]):
                    break
                if cell[end].ltr:
                    last = end
                end += 1
            end = last + 1
        elif cell[i].ltr is None:
            cell[i].text = cell[i].text.translate(_BRACKETS)
        for k in reversed(range(i, end)):
            text += cell[k].text + " " * (k > i and cell[k].spaced)
        text += " " * (end < len(cell) and cell[end].spaced)
        i = end
    return text


def _are_numbers(one: _Part, other: _Part) -> bool:
    """Return whether both parts are numbers. Numbers side by side are read from right to left."""
    return other.ltr is not None and bool(_NUMBER.match(one.text) and _NUMBER.match(other.text))
