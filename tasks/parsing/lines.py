"""From MuPDF's structured text of one page to pieces of text, each in one type and one paragraph.

This runs for every line of every page, so it looks at lines with C-speed calls where it can, and does more only
where a page gives a sign that it needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import orjson

# The child prints coordinates and sizes in tenths of a point.
SCALE: Final = 10.0
BULLETS: Final = frozenset("•◦‣▪▫■□●○–—-*·➢➤✓")


@dataclass(slots=True)
class Piece:
    """Lines that belong together. Coordinates and size in tenths of a point, as MuPDF printed them.

    Attributes:
        x0: Left edge.
        y0: Top edge.
        x1: Right edge.
        y1: Bottom edge.
        size: Size of the type.
        bold: Whether it is set in bold type.
        lines: The lines, top to bottom.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    size: int
    bold: bool
    lines: list[str]

    @property
    def characters(self) -> int:
        """Characters, without the line breaks."""
        return sum(map(len, self.lines))


@dataclass(slots=True)
class RawPage:
    """One page before its structure is known.

    Attributes:
        number: Counted from 0.
        width: In points.
        height: In points.
        pieces: In the order of the file.
        picture: Share of the page that the largest image covers; 0 where the page was not asked for it.
        gridded: Whether lines stand side by side in rows, as in a table.
        ocr: Whether it was read from a picture.
        tables: Filled in where the page was looked at for tables.
    """

    number: int
    width: float
    height: float
    pieces: list[Piece] = field(default_factory=list)
    picture: float = 0.0
    gridded: bool = False
    ocr: bool = False
    tables: list[Any] = field(default_factory=list)

    @property
    def characters(self) -> int:
        """Characters on the page."""
        return sum(piece.characters for piece in self.pieces)


def read_page(number: int, width: float, height: float, structured_text: bytes) -> RawPage:
    """Make pieces of one page of structured text (MuPDF's JSON)."""
    page = RawPage(number, width, height)
    pieces = page.pieces
    rows = 0
    for block in orjson.loads(structured_text)["blocks"]:
        lines = block.get("lines")
        if lines is None:
            if block["type"] == "image":
                box = block["bbox"]
                share = box["w"] * box["h"] / max(1.0, width * height * SCALE * SCALE)
                page.picture = max(page.picture, share)
            continue
        if len(lines) > 1:
            rows += _split(lines, pieces)
        elif lines:
            pieces.append(_piece(lines, block["bbox"]))
    page.gridded = rows >= 3
    return page


def _piece(lines: list[dict[str, Any]], box: dict[str, int]) -> Piece:
    first = lines[0]["font"]
    x, y = box["x"], box["y"]
    return Piece(
        x,
        y,
        x + box["w"],
        y + box["h"],
        first["size"],
        first["weight"] == "bold",
        [line["text"] for line in lines],
    )


def _split(lines: list[dict[str, Any]], pieces: list[Piece]) -> int:
    """Append the pieces of a block; give how many rows of it hold lines side by side."""
    rows = 0
    merged = [lines[0]]
    for line in lines[1:]:
        last = merged[-1]
        if line["y"] == last["y"]:
            # Same baseline: a gap that MuPDF took for the end of a line.
            a, b = last["bbox"], line["bbox"]
            if b["x"] - a["x"] - a["w"] > 2 * line["font"]["size"]:
                rows += 1
            merged[-1] = _joined(last, line)
        else:
            merged.append(line)
    start = 0
    boxes = [line["bbox"] for line in merged]
    left = min(box["x"] for box in boxes)
    right = max(box["x"] + box["w"] for box in boxes)
    breaks = _indents(merged, boxes, left, right)
    for i in range(1, len(merged)):
        if i in breaks or _other_type(merged[i - 1], merged[i]):
            pieces.append(_piece(merged[start:i], _union(boxes[start:i])))
            start = i
    pieces.append(_piece(merged[start:], _union(boxes[start:])))
    return rows


def _joined(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    return {**a, "bbox": _union([a["bbox"], b["bbox"]]), "text": f"{a['text'].rstrip()} {b['text'].lstrip()}"}


def _union(boxes: list[dict[str, int]]) -> dict[str, int]:
    x = min(b["x"] for b in boxes)
    y = min(b["y"] for b in boxes)
    return {
        "x": x,
        "y": y,
        "w": max(b["x"] + b["w"] for b in boxes) - x,
        "h": max(b["y"] + b["h"] for b in boxes) - y,
    }


def _other_type(a: dict[str, Any], b: dict[str, Any]) -> bool:
    one, two = a["font"], b["font"]
    if one is two:
        return False
    if abs(one["size"] - two["size"]) > 0.1 * one["size"]:
        return True
    return bool(one["weight"] != two["weight"])


def _indents(
    lines: list[dict[str, Any]], boxes: list[dict[str, int]], left: int, right: int
) -> frozenset[int] | set[int]:
    """Where a new paragraph begins: lines set in (or, in a list, out), and lines that begin with a bullet."""
    size = lines[0]["font"]["size"]
    indented = [i for i, box in enumerate(boxes) if box["x"] - left > 0.8 * size]
    breaks = {i for i, line in enumerate(lines) if line["text"][:1] in BULLETS and line["text"][1:2] == " "}
    if not indented:
        return breaks
    middle = left + right
    if all(abs(2 * boxes[i]["x"] + boxes[i]["w"] - middle) < size for i in indented):
        return breaks  # Centred lines.
    if len(indented) <= 0.4 * len(lines):
        breaks.update(indented)
    elif len(indented) >= 0.5 * len(lines):
        breaks.update(i for i in range(len(lines)) if i not in indented)
    return breaks
