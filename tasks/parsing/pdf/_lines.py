"""The lines of one block, those that stand on one baseline joined, with the cells that stand side by side on it."""

import re
from collections.abc import Iterator, Sequence
from operator import sub
from typing import Any, Final

from prefect_ollama.tasks.parsing._split_between import split_between
from prefect_ollama.tasks.parsing.pdf._layout import LEADERS, Piece, Row
from prefect_ollama.tasks.parsing.pdf._stext import LEVEL, Line, TextBlock

# Type is no larger than this part of the height of its line only where a small raised sign begins it.
_SMALL: Final = 0.55
# Hebrew, Arabic and related scripts. Their lines begin at the right edge.
RIGHT_TO_LEFT: Final = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
LATIN: Final = re.compile("[A-Za-z]")
# Characters that cannot be a cell alone: frames are drawn with letters that show as these.
_NOTHING: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ufffd]*")

# Minimum lines of two cells, and minimum mean characters of a line, at which the lines count as text and not as a
# table.
_COLUMN_LINES: Final = 4
_COLUMN_CHARACTERS: Final = 25

# Left and right edge in points, text.
LineCell = tuple[float, float, str]


def is_right_to_left(text: str) -> bool:
    """Return whether most letters of a text are of scripts that are written from right to left."""
    count = 0 if text.isascii() else len(RIGHT_TO_LEFT.findall(text))
    return count > 0 and count > len(LATIN.findall(text))


class Lines:
    """The lines of a block, a list for each property: they are read much more often than they are changed."""

    __slots__ = ("bold", "cells", "size", "text", "x0", "x1", "y0", "y1")
    # Tuples as long as nothing is changed.
    x0: Sequence[float]
    y0: Sequence[float]
    x1: Sequence[float]
    y1: Sequence[float]
    size: Sequence[float]
    bold: Sequence[int]

    def __init__(self, lines: list[Line], texts: list[str]) -> None:
        self.x0, self.y0, self.x1, self.y1, baselines, self.size, self.bold, _, _ = zip(*lines, strict=True)
        self.text = texts
        self.cells: dict[int, list[LineCell]] = {}
        heights = list(map(sub, self.y1, self.y0))
        if min(self.size) < _SMALL * max(heights):
            self._even_out(heights)
        if min(map(abs, map(sub, baselines[1:], baselines))) <= LEVEL:
            self._join_rows(baselines)

    def _even_out(self, heights: list[float]) -> None:
        """Give a line that begins with a small raised sign about the size of the line after it."""
        sizes = list(self.size)
        for i, (size, height) in enumerate(zip(sizes, heights, strict=True)):
            if size < _SMALL * height:
                guess = 0.75 * height
                following = sizes[i + 1] if i + 1 < len(sizes) else 0
                sizes[i] = following if 0.7 * guess < following < 1.3 * guess else guess
        self.size = sizes

    def _join_rows(self, baselines: Sequence[float]) -> None:
        """Join the lines that stand on one baseline: MuPDF ends a line at a wide gap."""
        columns: tuple[list[Any], ...] = tuple(
            map(list, (self.x0, self.y0, self.x1, self.y1, self.size, self.bold, self.text))
        )
        self.x0, self.y0, self.x1, self.y1, self.size, self.bold, self.text = columns
        kept = 0
        for i in range(1, len(baselines)):
            x0, x1, text = self.x0[i], self.x1[i], self.text[i]
            level = abs(baselines[i] - baselines[i - 1]) <= LEVEL
            if level and self._follows(kept, x0, x1, text):
                self.text[kept] = f"{self.text[kept]} {text}"
                for column, joined in zip(columns[:4], (min, min, max, max), strict=True):
                    column[kept] = joined(column[kept], column[i])
                continue
            kept += 1
            if kept < i:
                for column in columns:
                    column[kept] = column[i]
        del self.text[kept + 1 :]
        for i, cells in self.cells.items():
            if is_right_to_left(self.text[i]):
                cells.sort(reverse=True)
                self.text[i] = " ".join(text for _, _, text in cells)

    def _follows(self, kept: int, x0: float, x1: float, text: str) -> bool:
        """Return whether a line goes on with another on its baseline; notes the cells where there is a wide gap."""
        size, end = self.size[kept], self.x1[kept]
        gap = x0 - end
        if gap < -size:
            gap = self.x0[kept] - x1
            if gap < -size or RIGHT_TO_LEFT.search(self.text[kept]) is None:
                return False
        cells = self.cells.get(kept)
        if gap > 1.5 * size and not _NOTHING.fullmatch(text):
            cells = cells or [(self.x0[kept], end, self.text[kept])]
            self.cells[kept] = [*cells, (x0, x1, text)]
        elif cells:
            begin, before_end, before = cells[-1]
            cells[-1] = (min(begin, x0), max(before_end, x1), f"{before} {text}")
        return True

    def rows(self) -> Iterator[Row]:
        """Say where cells stand side by side, unless they are lines of prose in two columns."""
        for run in split_between(self.cells, lambda before, i: i != before + 1):
            if not self.are_columns(run[0], run[-1] + 1):
                yield from (
                    self._row(k) for k in run if self.size[k] > 0 and not LEADERS.search(self.text[k])
                )

    def _row(self, i: int) -> Row:
        cells = self.cells[i]
        return Row(self.x0[i], self.y0[i], self.x1[i], self.y1[i], self.size[i], cells[1][0], len(cells))

    def are_columns(self, start: int, end: int) -> bool:
        """Return whether rows of two cells are lines of prose in two columns, which the file holds line by line."""
        if end - start < _COLUMN_LINES or start not in self.cells:
            return False
        rows = [self.cells[i] for i in range(start, end)]
        if any(len(row) != 2 for row in rows):
            return False
        starts = [row[1][0] for row in rows]
        return max(starts) - min(starts) < self.size[start] and all(
            sum(len(row[place][2]) for row in rows) >= _COLUMN_CHARACTERS * len(rows) for place in (0, 1)
        )


def lines_of(blocks: Sequence[TextBlock | Piece]) -> dict[int, Lines]:
    """Look at the lines of the blocks that are not even, by the identity of the block."""
    return {
        id(block): Lines(block.lines, block.texts)
        for block in blocks
        if isinstance(block, TextBlock) and not block.even and len(block.lines) > 1 and not block.lines[0][7]
    }
