"""The lines of MuPDF's structured text, read directly from its memory.

MuPDF's own interfaces are slow beside the reading of the page: its JSON, printed and decoded, takes a third of that
time again, and a walk with the objects of its Python binding twice as much. So blocks, lines and the first character of
each line are unpacked from the structures of `mupdf/fitz/structured-text.h`, about a microsecond a line.

Before the first use some of them are compared with the values of the binding, pointers included. Where they differ, as
in a MuPDF that lays its structures out otherwise, pages are read from the JSON. If this still fails, it ends only the
child process, which is then replaced.
"""

import ctypes
import sys
from collections.abc import Iterator
from itertools import pairwise
from struct import Struct
from typing import Any, Final, NamedTuple

# struct fz_stext_block: type, bbox, first line, next block.
_BLOCK: Final = Struct("@i4x4fP32xP")
# struct fz_stext_line: whether it is vertical, how far it runs to the right for each step, bbox, first character, next
# line.
_LINE: Final = Struct("@B3xf4x4fP16xP")
# struct fz_stext_char: flags, baseline, size; and its code, next character.
_CHAR: Final = Struct("@6xH8xf32xf")
# The code of a character, for the comparison with the binding, its font, next character.
LINK: Final = Struct("@i52xPP")
# struct fz_font: name, and flags, of which the lowest says that all its letters have one width.
FONT: Final = Struct("@4x32s44xI")
# Flags, origin, left and right upper corner, size, next character.
GLYPH: Final = Struct("@6xH4x6f16xf8xP")
_TEXT: Final = 0  # FZ_STEXT_BLOCK_TEXT
# A line whose writing runs from top to bottom, and one that is turned: sideways, upside down or aslant.
VERTICAL: Final = 1
TURNED: Final = 2
# A line that runs to the right by less than this for each step is turned.
_UPRIGHT: Final = 0.99
BOLD: Final = 8  # FZ_STEXT_BOLD

# Maximum vertical distance of lines on one baseline, in points.
LEVEL: Final = 0.1

# A line is set in if it begins so much farther in, in sizes of the type.
_SET_IN: Final = 0.8
# A line is below another if it is so much lower, in sizes of the type.
_BELOW: Final = 0.5
# And is of another type if that is so much larger or smaller.
_OTHER_SIZE: Final = 1.1
# All of the process's memory, of which only what MuPDF points at is looked at.
MEMORY: Final = (ctypes.c_char * sys.maxsize).from_address(0)


# Left, top, right and bottom edge, baseline, size of the type that it begins with, all in points; whether that is
# bold, and whether the line is VERTICAL or TURNED, both 0 for no; address of its first character, 0 where unknown.
Line = tuple[float, float, float, float, float, float, int, int, int]


class TextBlock(NamedTuple):
    """Lines that MuPDF takes for one block.

    Attributes:
        x0, y0, x1, y1: Left, top, right and bottom edge, in points.
        lines: One or more.
        texts: The text of each line.
        even: Whether the lines are of one type, each below the one before, and only the first may be indented.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    lines: list[Line]
    texts: list[str]
    even: bool


class StructuredText:
    """Reads pages of structured text, from the first one on that shows that its structures are as expected."""

    def __init__(self, mupdf: Any) -> None:
        self._mupdf = mupdf
        self._as_expected: bool | None = None

    def read(self, page: Any, text: str) -> list[TextBlock] | None:
        """Return the blocks of text of a page; None if its memory or its text has an unexpected form.

        Args:
            text: The page as MuPDF prints it: a line for each of its lines, and an empty one after each block.
        """
        if self._as_expected is None:
            self._as_expected = _as_expected(self._mupdf, page)
        first = page.first_block
        if not self._as_expected:
            return None if first else []
        return _blocks(int(first.this), text.split("\n")) if first else []


def _blocks(at: int, texts: list[str]) -> list[TextBlock] | None:
    block_at, line_at, char_at, memory = _BLOCK.unpack_from, _LINE.unpack_from, _CHAR.unpack_from, MEMORY
    found = []
    start = 0
    while at:
        kind, x0, y0, x1, y1, line, at = block_at(memory, at)
        if kind != _TEXT:
            continue
        lines: list[Line] = []
        even, above = True, 0.0
        while line:
            vertical, ahead, left, top, right, bottom, character, line = line_at(memory, line)
            if ahead < _UPRIGHT and not vertical:
                vertical = TURNED
            if not character:
                return None
            flags, baseline, size = char_at(memory, character)
            bold = flags & BOLD
            if not lines:
                first_bold, set_in, least = bold, x0 + _SET_IN * size, size / _OTHER_SIZE
                most, step = size * _OTHER_SIZE, max(LEVEL, _BELOW * size)
            elif baseline - above < step or left > set_in or bold != first_bold or not least <= size <= most:
                even = False
            above = baseline
            lines.append((left, top, right, bottom, baseline, size, bold, vertical, character))
        end = start + len(lines)
        # A character that is a line break would shift all that follows.
        if end >= len(texts) or texts[end]:
            return None
        found.append(TextBlock(x0, y0, x1, y1, lines, texts[start:end], even))
        start = end + 1
    return found if start == len(texts) - 1 else None


def block_of(lines: list[Line], texts: list[str]) -> TextBlock:
    """Make a block of some of the lines of one."""
    x0, x1 = min(line[0] for line in lines), max(line[2] for line in lines)
    y0, y1 = min(line[1] for line in lines), max(line[3] for line in lines)
    return TextBlock(x0, y0, x1, y1, lines, texts, is_even(lines, x0))


def _as_expected(mupdf: Any, page: Any) -> bool | None:
    """Return whether the memory agrees with the binding; None if a page has too little content."""
    linked: set[str] = set()
    for block in _chain(page.first_block):
        if _BLOCK.unpack_from(MEMORY, int(block.this))[:5] != (block.type, *_box(block.bbox)):
            return False
        if block.type != _TEXT:
            continue
        first = mupdf.FzStextBlock(block).begin().__ref__().m_internal
        if _BLOCK.unpack_from(MEMORY, int(block.this))[5:] != (int(first.this), _address(block.next)):
            return False
        for line in _chain(first):
            character = line.first_char
            if not character:
                return None
            if _LINE.unpack_from(MEMORY, int(line.this)) != (
                line.wmode,
                line.dir.x,
                *_box(line.bbox),
                _address(character),
                _address(line.next),
            ):
                return False
            at = int(character.this)
            if _CHAR.unpack_from(MEMORY, at) != (character.flags, character.origin.y, character.size):
                return False
            font = character.font
            if LINK.unpack_from(MEMORY, at) != (character.c, _address(font), _address(character.next)):
                return False
            name, flags = FONT.unpack_from(MEMORY, _address(font))
            if name.split(b"\0")[0] != font.name.encode() or flags & 1 != font.flags.is_mono:
                return False
            origin, upper_left, upper_right = character.origin, character.quad.ul, character.quad.ur
            places = (each for point in (origin, upper_left, upper_right) for each in (point.x, point.y))
            if GLYPH.unpack_from(MEMORY, at) != (
                character.flags,
                *places,
                character.size,
                _address(character.next),
            ):
                return False
            linked |= {
                name
                for name, each in (("block", block), ("line", line), ("character", character))
                if each.next
            }
        if len(linked) == 3:
            return True
    return None


def _chain(first: Any) -> Iterator[Any]:
    while first:
        yield first
        first = first.next


def _address(pointer: Any) -> int:
    return int(pointer.this) if pointer else 0


def _box(box: Any) -> tuple[float, float, float, float]:
    return box.x0, box.y0, box.x1, box.y1


def from_json(structured_text: dict[str, Any], scale: float) -> list[TextBlock]:
    """Give the blocks of text of a page from MuPDF's JSON, decoded, printed at `scale`."""
    found = []
    for block in structured_text["blocks"]:
        if not block.get("lines"):
            continue
        box = json_box(block["bbox"], scale)
        lines: list[Line] = [
            (
                *json_box(line["bbox"], scale),
                line["y"] / scale,
                line["font"]["size"] / scale,
                BOLD * (line["font"]["weight"] == "bold"),
                line["wmode"],
                0,
            )
            for line in block["lines"]
        ]
        found.append(
            TextBlock(*box, lines, [line["text"] for line in block["lines"]], is_even(lines, box[0]))
        )
    return found


def is_even(lines: list[Line], x0: float) -> bool:
    """Return whether the lines of a block at `x0` have one type and no indent, each below the one before."""
    first = lines[0]
    return all(
        line[4] - above[4] >= max(LEVEL, _BELOW * first[5])
        and line[0] <= x0 + _SET_IN * first[5]
        and line[6] == first[6]
        and first[5] / _OTHER_SIZE <= line[5] <= first[5] * _OTHER_SIZE
        for above, line in pairwise(lines)
    )


def json_box(box: dict[str, float], scale: float) -> tuple[float, float, float, float]:
    """Left, top, right and bottom edge of a rectangle in MuPDF's JSON, printed at `scale`, in points."""
    return box["x"] / scale, box["y"] / scale, (box["x"] + box["w"]) / scale, (box["y"] + box["h"]) / scale
