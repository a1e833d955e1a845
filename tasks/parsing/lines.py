"""From MuPDF's structured text of one page to pieces: lines of one type that make one paragraph.

This runs over every line of every page, so blocks that are plain prose are recognised by a few C-speed calls,
and looked at line by line only where they show a sign of more: indents, bullets, another type, cells side by side.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, NamedTuple

# MuPDF was told to print coordinates and sizes in tenths of a point.
SCALE: Final = 10.0
_BULLETS: Final = frozenset("•◦‣▪▫■□●○–—-*·➢➤✓∙⁃")
_NUMBERED: Final = re.compile(r"\(?(?:\d{1,3}|[a-z]|[ivx]{1,4})[.)] ")
_PARAGRAPH_ENDS: Final = tuple('.!?:;…。！？"”’»)')
# Dots that lead from an entry of a table of contents to its page.
LEADERS: Final = re.compile(r"(?:[.·…_]\s?){5,}")

_RIGHT_TO_LEFT: Final = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

_box, _font, _text, _size, _weight, _x, _y = map(
    itemgetter, ("bbox", "font", "text", "size", "weight", "x", "y")
)


class Cell(NamedTuple):
    """A part of a row that stands apart from its neighbours."""

    x0: int
    x1: int
    text: str


@dataclass(slots=True)
class Piece:
    """Lines that belong together. Coordinates and size in tenths of a point.

    Attributes:
        x0: Left edge.
        y0: Top edge.
        x1: Right edge.
        y1: Bottom edge.
        size: Size of the type.
        bold: Whether it is set in bold type.
        text: The lines, with a line break between them.
        lines: How many they are.
        rows: For lines that have cells side by side: the cells of every line.
        table: The table that this is, its text then being empty.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    size: int
    bold: bool
    text: str
    lines: int
    rows: list[list[Cell]] | None = None
    table: Table | None = None


@dataclass(slots=True)
class Table:
    """A table on one page; coordinates in tenths of a point, cells with the line breaks they have."""

    x0: int
    y0: int
    x1: int
    y1: int
    rows: list[list[str]]


@dataclass(slots=True)
class RawPage:
    """One page before its structure is known.

    Attributes:
        number: Counted from 0.
        width: In points.
        height: In points.
        pieces: In the order of the file, until `order.arrange` has put them right.
        vertical: Whether lines run from top to bottom.
        ocr: Whether it was read from a picture.
        rows: Where lines stand side by side: left, top, right, bottom edge and size, in tenths of a point.
        tables: Tables that MuPDF found on it.
    """

    number: int
    width: float
    height: float
    pieces: list[Piece] = field(default_factory=list)
    vertical: bool = False
    ocr: bool = False
    rows: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


@dataclass(slots=True)
class _Line:
    x0: int
    y0: int
    x1: int
    y1: int
    size: int
    bold: bool
    text: str
    cells: list[Cell] | None = None


def read_page(
    number: int, width: float, height: float, structured_text: dict[str, Any], ocr: bool = False
) -> RawPage:
    """Make pieces of one page of structured text (MuPDF's JSON, decoded)."""
    if ocr:
        _level_sizes(structured_text)
    page = RawPage(number, width, height)
    pieces = page.pieces
    for block in structured_text["blocks"]:
        if "lines" not in block:
            continue
        lines = block["lines"]
        first = lines[0]
        font = first["font"]
        size = font["size"]
        box = block["bbox"]
        x0, y0 = box["x"], box["y"]
        if len(lines) == 1:
            pieces.append(
                Piece(x0, y0, x0 + box["w"], y0 + box["h"], size, font["weight"] == "bold", first["text"], 1)
            )
            continue
        count = len(lines)
        fonts = list(map(_font, lines))
        texts = list(map(_text, lines))
        sizes = set(map(_size, fonts))
        if (
            len(set(map(_y, lines))) == count
            and len(set(map(_weight, fonts))) == 1
            and (len(sizes) == 1 or max(sizes) <= 1.1 * min(sizes))
            and max(map(_x, map(_box, lines))) - x0 <= 0.8 * size
            and _BULLETS.isdisjoint([text[:1] for text in texts])
        ):
            pieces.append(
                Piece(
                    x0,
                    y0,
                    x0 + box["w"],
                    y0 + box["h"],
                    size,
                    font["weight"] == "bold",
                    "\n".join(texts),
                    count,
                )
            )
        elif first["wmode"]:
            page.vertical = True
            pieces.append(Piece(x0, y0, x0 + box["w"], y0 + box["h"], size, False, "\n".join(texts), count))
        else:
            rows = _rows(lines)
            page.rows += [
                (line.x0, line.y0, line.x1, line.y1, line.size)
                for line in rows
                if line.cells and not LEADERS.search(line.text)
            ]
            pieces += _divided(rows)
    return page


def _level_sizes(structured_text: dict[str, Any]) -> None:
    """Take all type that is not much larger or smaller for one size: OCR measures every line anew."""
    fonts = [line["font"] for block in structured_text["blocks"] for line in block.get("lines", ())]
    if not fonts:
        return
    middle = sorted(map(_size, fonts))[len(fonts) // 2]
    for font in fonts:
        font["weight"] = "normal"
        if 0.7 * middle < font["size"] < 1.35 * middle:
            font["size"] = middle


def _rows(lines: list[dict[str, Any]]) -> list[_Line]:
    """Join the lines that stand on one baseline: MuPDF ends a line at a wide gap."""
    found: list[_Line] = []
    baseline = -1
    for line in lines:
        box, font, text = line["bbox"], line["font"], line["text"]
        x0, y0 = box["x"], box["y"]
        x1, y1 = x0 + box["w"], y0 + box["h"]
        size = font["size"]
        if line["y"] == baseline and x1 <= found[-1].x0 + size and _RIGHT_TO_LEFT.search(found[-1].text):
            last = found[-1]
            last.text = f"{last.text} {text}"
            last.x0, last.y0, last.y1 = x0, min(last.y0, y0), max(last.y1, y1)
            continue
        if line["y"] == baseline and x0 >= found[-1].x1 - size:
            last = found[-1]
            if x0 - last.x1 > 1.5 * last.size and text.strip():
                cells = last.cells or [Cell(last.x0, last.x1, last.text)]
                last.cells = [*cells, Cell(x0, x1, text)]
            elif last.cells:
                end = last.cells[-1]
                last.cells[-1] = Cell(end.x0, x1, f"{end.text} {text}")
            last.text = f"{last.text} {text}"
            last.x1, last.y0, last.y1 = x1, min(last.y0, y0), max(last.y1, y1)
            continue
        # A line that begins with a small raised sign is as large as the rest of it.
        if size < 0.55 * (y1 - y0):
            size = int(0.75 * (y1 - y0))
        found.append(_Line(x0, y0, x1, y1, size, font["weight"] == "bold", text))
        baseline = line["y"]
    return found


def _divided(lines: list[_Line]) -> Iterator[Piece]:
    """Divide a block where the type changes, where a paragraph begins, and where rows of cells begin or end."""
    left = min(line.x0 for line in lines)
    right = max(line.x1 for line in lines)
    centred = _centred(lines, left, right)
    # Right to left, a line begins at its right edge: measured from there, all is as it is from left to right.
    mirrored = _RIGHT_TO_LEFT.search(lines[0].text) is not None
    if mirrored:
        left, right = -right, -left
        for line in lines:
            line.x0, line.x1 = -line.x1, -line.x0
    start = 0
    pieces = []
    for i in range(1, len(lines)):
        if _border(lines, i, start, left, right, centred):
            pieces.append(lines[start:i])
            start = i
    pieces.append(lines[start:])
    for part in pieces:
        if mirrored:
            for line in part:
                line.x0, line.x1 = -line.x1, -line.x0
        yield _piece(part)


def _border(lines: list[_Line], i: int, start: int, left: int, right: int, centred: bool) -> bool:
    """Whether line i begins another piece than the line before it; the piece so far began at line `start`."""
    before, line = lines[i - 1], lines[i]
    size = before.size
    if (before.cells is None) != (line.cells is None):
        return True
    if line.cells is not None:
        return False
    if abs(line.size - size) > 0.1 * size:
        return True
    short = before.x1 < right - 0.1 * (right - left) - size
    ended = before.text.rstrip().endswith(_PARAGRAPH_ENDS)
    if before.bold != line.bold:
        return short or ended
    first = line.text[:1]
    if first in _BULLETS and line.text[1:2] in (" ", "\xa0", ""):
        return True
    if centred:
        return False
    if (ended or short) and _NUMBERED.match(line.text):
        return True
    moved = line.x0 - before.x0
    if moved > 0.8 * size:
        # In: the first line of a paragraph, unless the piece hangs from a bullet or a name.
        return (ended or short) and not (i - 1 == start and _hangs(before.text))
    if moved < -0.8 * size:
        # Out: the second line of a paragraph whose first one was set in, or the end of what hung.
        return i - 1 != start or short
    return short and ended


def _hangs(text: str) -> bool:
    return text[:1] in _BULLETS or _NUMBERED.match(text) is not None


def _centred(lines: list[_Line], left: int, right: int) -> bool:
    size = lines[0].size
    return (
        len(lines) > 1
        and any(line.x0 - left > size for line in lines)
        and all(abs(line.x0 + line.x1 - left - right) < size for line in lines)
    )


def _piece(lines: list[_Line]) -> Piece:
    first = lines[0]
    rows = None
    if first.cells is not None:
        rows = [line.cells or [Cell(line.x0, line.x1, line.text)] for line in lines]
    return Piece(
        min(line.x0 for line in lines),
        min(line.y0 for line in lines),
        max(line.x1 for line in lines),
        max(line.y1 for line in lines),
        first.size,
        first.bold,
        "\n".join([line.text for line in lines]),
        len(lines),
        rows,
    )
