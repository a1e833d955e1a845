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
# So many lines of two cells with so many characters on average are no table.
_COLUMN_LINES: Final = 4
_COLUMN_CHARACTERS: Final = 25
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


class Row(NamedTuple):
    """Where cells stand side by side on one line."""

    x0: int
    y0: int
    x1: int
    y1: int
    size: int
    starts: tuple[int, ...]


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
        rows: Where lines stand side by side, in tenths of a point.
        tables: Tables that MuPDF found on it.
    """

    number: int
    width: float
    height: float
    pieces: list[Piece] = field(default_factory=list)
    vertical: bool = False
    ocr: bool = False
    rows: list[Row] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def read_page(
    number: int, width: float, height: float, structured_text: dict[str, Any], ocr: bool = False
) -> RawPage:
    """Make pieces of one page of structured text (MuPDF's JSON, decoded)."""
    if ocr:
        _level_sizes(structured_text)
    page = RawPage(number, width, height, ocr=ocr)
    pieces = page.pieces
    for block in structured_text["blocks"]:
        if "lines" not in block:
            continue
        lines = block["lines"]
        first = lines[0]
        font = first["font"]
        box = block["bbox"]
        x0, y0 = box["x"], box["y"]
        if len(lines) == 1:
            text = first["text"]
        else:
            texts = list(map(_text, lines))
            if first["wmode"]:
                page.vertical = True
            elif not _is_plain(lines, texts, x0):
                pieces += _divided(lines, texts, page)
                continue
            text = "\n".join(texts)
        pieces.append(
            Piece(
                x0,
                y0,
                x0 + box["w"],
                y0 + box["h"],
                font["size"],
                font["weight"] == "bold",
                text,
                len(lines),
            )
        )
    return page


def _is_plain(lines: list[dict[str, Any]], texts: list[str], left: int) -> bool:
    """Whether a block is one paragraph: one type, lines below each other, none but the first set in, no bullets."""
    fonts = list(map(_font, lines))
    size = fonts[0]["size"]
    sizes = set(map(_size, fonts))
    return (
        max(map(_x, map(_box, lines[1:]))) - left <= 0.8 * size
        and len(set(map(_y, lines))) == len(lines)
        and (len(sizes) == 1 or max(sizes) <= 1.1 * min(sizes))
        and len(set(map(_weight, fonts))) == 1
        and _BULLETS.isdisjoint([text[:1] for text in texts])
    )


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


class _Lines:
    """The lines of a block, a list for each property: they are looked at much more often than they are changed."""

    __slots__ = ("bold", "cells", "size", "text", "x0", "x1", "y0", "y1")

    def __init__(self, lines: list[dict[str, Any]], texts: list[str]) -> None:
        boxes = list(map(_box, lines))
        fonts = list(map(_font, lines))
        self.x0: list[int] = list(map(_x, boxes))
        self.y0: list[int] = list(map(_y, boxes))
        self.x1: list[int] = [box["x"] + box["w"] for box in boxes]
        self.y1: list[int] = [box["y"] + box["h"] for box in boxes]
        self.size: list[int] = list(map(_size, fonts))
        self.bold: list[bool] = [font["weight"] == "bold" for font in fonts]
        self.text = texts
        self.cells: dict[int, list[Cell]] = {}
        for i, (size, box) in enumerate(zip(self.size, boxes, strict=True)):
            # A line that begins with a small raised sign is as large as the line after it, or so.
            if size < 0.55 * box["h"]:
                guess = int(0.75 * box["h"])
                following = self.size[i + 1] if i + 1 < len(boxes) else 0
                self.size[i] = following if 0.7 * guess < following < 1.3 * guess else guess
        baselines = list(map(_y, lines))
        if len(set(baselines)) < len(baselines):
            self._join_rows(baselines)

    def _join_rows(self, baselines: list[int]) -> None:
        """Join the lines that stand on one baseline: MuPDF ends a line at a wide gap."""
        kept = 0
        for i in range(1, len(baselines)):
            x0, x1, text = self.x0[i], self.x1[i], self.text[i]
            if baselines[i] == baselines[i - 1] and self._follows(kept, x0, x1, text):
                self.text[kept] = f"{self.text[kept]} {text}"
                self.x0[kept], self.x1[kept] = min(self.x0[kept], x0), max(self.x1[kept], x1)
                self.y0[kept] = min(self.y0[kept], self.y0[i])
                self.y1[kept] = max(self.y1[kept], self.y1[i])
                continue
            kept += 1
            self.x0[kept], self.x1[kept], self.y0[kept], self.y1[kept] = x0, x1, self.y0[i], self.y1[i]
            self.size[kept], self.bold[kept], self.text[kept] = self.size[i], self.bold[i], text
        del self.text[kept + 1 :]

    def _follows(self, kept: int, x0: int, x1: int, text: str) -> bool:
        """Whether a line goes on with another on its baseline; notes the cells where there is a wide gap."""
        size, end = self.size[kept], self.x1[kept]
        if x0 < end - size:
            return x1 <= self.x0[kept] + size and _RIGHT_TO_LEFT.search(self.text[kept]) is not None
        cells = self.cells.get(kept)
        if x0 - end > 1.5 * size and text.strip():
            cells = cells or [Cell(self.x0[kept], end, self.text[kept])]
            self.cells[kept] = [*cells, Cell(x0, x1, text)]
        elif cells:
            last = cells[-1]
            cells[-1] = Cell(last.x0, x1, f"{last.text} {text}")
        return True


def _divided(lines: list[dict[str, Any]], texts: list[str], page: RawPage) -> list[Piece]:
    """Divide a block where the type changes, where a paragraph begins, and where rows of cells begin or end."""
    all_lines = _Lines(lines, texts)
    count = len(all_lines.text)
    for i, cells in all_lines.cells.items():
        if not LEADERS.search(all_lines.text[i]):
            page.rows.append(
                Row(
                    all_lines.x0[i],
                    all_lines.y0[i],
                    all_lines.x1[i],
                    all_lines.y1[i],
                    all_lines.size[i],
                    tuple(cell.x0 for cell in cells),
                )
            )
    pieces: list[Piece] = []
    start = 0
    for i in [*_borders(all_lines), count]:
        if _are_columns(all_lines, start, i):
            pieces += [_column(all_lines, start, i, place) for place in (0, 1)]
            lost = set(all_lines.y0[start:i])
            page.rows = [row for row in page.rows if row.y0 not in lost]
        else:
            pieces.append(_piece(all_lines, start, i))
        start = i
    return pieces


def _are_columns(lines: _Lines, start: int, end: int) -> bool:
    """Whether rows of two cells are lines of prose in two columns, which the file holds line by line."""
    if end - start < _COLUMN_LINES or start not in lines.cells:
        return False
    rows = [lines.cells[i] for i in range(start, end)]
    if any(len(row) != 2 for row in rows):
        return False
    starts = [row[1].x0 for row in rows]
    return max(starts) - min(starts) < lines.size[start] and all(
        sum(len(row[place].text) for row in rows) >= _COLUMN_CHARACTERS * len(rows) for place in (0, 1)
    )


def _column(lines: _Lines, start: int, end: int, place: int) -> Piece:
    cells = [lines.cells[i][place] for i in range(start, end)]
    return Piece(
        min(cell.x0 for cell in cells),
        min(lines.y0[start:end]),
        max(cell.x1 for cell in cells),
        max(lines.y1[start:end]),
        lines.size[start],
        lines.bold[start],
        "\n".join(cell.text for cell in cells),
        end - start,
    )


def _borders(lines: _Lines) -> Iterator[int]:
    """Say which lines begin another piece than the line before them."""
    text, sizes, bold, cells = lines.text, lines.size, lines.bold, lines.cells
    # Right to left, a line begins at its right edge: measured from there, all is as it is from left to right.
    if _RIGHT_TO_LEFT.search(text[0]):
        begins, ends = [-x for x in lines.x1], [-x for x in lines.x0]
    else:
        begins, ends = lines.x0, lines.x1
    begins, ends = begins[: len(text)], ends[: len(text)]
    left, right = min(begins), max(ends)
    centred = _centred(begins, ends, left, right, sizes[0])
    one_type = not cells and len(set(sizes)) == 1 and len(set(bold)) == 1
    full = right - 0.1 * (right - left) - sizes[0]
    step = 0.8 * sizes[0]
    start = 0
    for i in range(1, len(text)):
        moved = begins[i] - begins[i - 1]
        short = ends[i - 1] < full
        first = text[i][:1]
        if one_type and not short and -step <= moved <= step and first not in _BULLETS:
            continue  # By far the most lines.
        size = sizes[i - 1]
        if cells and (i in cells) != (i - 1 in cells):
            border = True
        elif cells and i in cells:
            border = False
        elif abs(sizes[i] - size) > 0.1 * size:
            border = True
        elif bold[i] != bold[i - 1]:
            border = short or text[i - 1].rstrip().endswith(_PARAGRAPH_ENDS)
        elif first in _BULLETS and text[i][1:2] in (" ", "\xa0", ""):
            border = True
        elif centred:
            border = False
        elif moved > 0.8 * size:
            # In: the first line of a paragraph, unless the piece hangs from a bullet or a number.
            border = (short or text[i - 1].rstrip().endswith(_PARAGRAPH_ENDS)) and not (
                i - 1 == start and _hangs(text[start])
            )
        elif moved < -0.8 * size:
            # Out: the second line of a paragraph whose first one was set in, or the end of what hung.
            border = i - 1 != start or short
        else:
            ended = text[i - 1].rstrip().endswith(_PARAGRAPH_ENDS)
            border = (short and ended) or ((short or ended) and _NUMBERED.match(text[i]) is not None)
        if border:
            yield i
            start = i


def _hangs(text: str) -> bool:
    return text[:1] in _BULLETS or _NUMBERED.match(text) is not None


def _centred(begins: list[int], ends: list[int], left: int, right: int, size: int) -> bool:
    return max(begins) - left > size and all(
        abs(x0 + x1 - left - right) < size for x0, x1 in zip(begins, ends, strict=True)
    )


def _piece(lines: _Lines, start: int, end: int) -> Piece:
    rows = None
    if start in lines.cells:
        rows = [lines.cells[i] for i in range(start, end)]
    return Piece(
        min(lines.x0[start:end]),
        min(lines.y0[start:end]),
        max(lines.x1[start:end]),
        max(lines.y1[start:end]),
        lines.size[start],
        lines.bold[start],
        "\n".join(lines.text[start:end]),
        end - start,
        rows,
    )
