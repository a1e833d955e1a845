"""From lines that stand side by side to the rows and columns of a table.

Columns are parted by strips in which nothing stands from top to bottom.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from operator import attrgetter
from statistics import median
from typing import Final

from prefect_ollama.tasks.parsing._split_between import split_between
from prefect_ollama.tasks.parsing.pdf._amounts import is_amount
from prefect_ollama.tasks.parsing.pdf._layout import SCALE, Piece, Table, table_piece
from prefect_ollama.tasks.parsing.pdf._table_columns import Columns, Word, columns_of, placed
from prefect_ollama.tasks.parsing.pdf._table_header import header_above
from prefect_ollama.tasks.parsing.pdf._table_rows import BELOW, LEADING, WIDER, row_borders, rows_of

# A grid with text in a smaller part of its cells is a frame, not a table.
_FILLED: Final = 0.4
# A cell with more characters than this is a column of the page, not of a table.
_MAX_CELL_CHARACTERS: Final = 600
# Two columns whose lines have more characters than this on average are columns of text.
_LONG_LINES: Final = 45
# A table has at most this number of columns. Text with more gaps side by side is spaced out in another way.
MAX_COLUMNS: Final = 30
# Part of the page at its top and bottom in which a running head or foot may be.
_EDGE: Final = 0.1
# The bullet or number of a list's point, which is not a cell of a table.
_ITEM: Final = re.compile(r"[•◦‣▪▫■□●○–—\-*·➢➤✓∙⁃]|\(?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{1,4})[.)]")
_x0, _x1 = attrgetter("x0"), attrgetter("x1")


def tables_in(words: list[Word], height: float) -> Iterator[tuple[Piece, set[tuple[int, int]]]]:
    """Find the tables among lines in any order, each with the places of the lines that it takes.

    `height` is that of the page, in points.
    """
    every = rows_of(words)
    for part in _parts(every, height):
        for rows in _between_crossing(part):
            if sum(len(row) > 1 for row in rows) < 2:
                continue
            columns = columns_of(rows)
            if 2 <= len(columns) <= MAX_COLUMNS and (
                table := _table(_trimmed(placed(rows, columns)), columns, every)
            ):
                yield table
                every = [row for row in every if row[0].place not in table[1]]


def _parts(rows: list[list[Word]], height: float) -> Iterator[list[list[Word]]]:
    """Divide rows where much more space is left than there is between most, less at a running head or foot."""
    steps = [below[0].baseline - above[0].baseline for above, below in pairwise(rows)]
    if not steps:
        return
    middle = median(steps)
    most = max(2.6 * rows[0][0].size, 2.2 * middle)

    def are_parted(above: list[Word], below: list[Word]) -> bool:
        at_edge = above[0].y1 < _EDGE * height or below[0].y0 > (1 - _EDGE) * height
        return below[0].baseline - above[0].baseline > (1.25 * middle if at_edge else most)

    yield from split_between(rows, are_parted)


def _between_crossing(rows: list[list[Word]]) -> Iterator[list[list[Word]]]:
    """Divide rows at lines by themselves that reach over the cells beside: text above, below or between tables."""
    part: list[list[Word]] = []
    beside: list[Word] = []
    for i, row in enumerate(rows):
        if len(row) > 1:
            beside = row
        elif _crosses(row[0], beside or next((below for below in rows[i:] if len(below) > 1), [])):
            if part:
                yield part
            part, beside = [], []
            continue
        part.append(row)
    if part:
        yield part


def _crosses(line: Word, cells: list[Word]) -> bool:
    slack = 0.3 * line.size
    return any(line.x0 < left.x1 - slack and line.x1 > right.x0 + slack for left, right in pairwise(cells))


def _trimmed(rows: list[list[Word]]) -> list[list[Word]]:
    """Remove single lines before the first row and after the last, except further lines of their cells."""
    whole = [i for i, row in enumerate(rows) if len(row) > 1]
    start, end = whole[0], whole[-1]
    while end - start > 1 and not _fits(rows[start], rows[start + 1 : end + 1]):
        start += 1
    while end - start > 1 and not _fits(rows[end], rows[start:end]):
        end -= 1
    while (
        start
        and rows[start][0].baseline - rows[start - 1][0].baseline < 1.4 * rows[start][0].size
        and rows[start - 1][0].column > 0
    ):
        start -= 1
    steps = [below[0].baseline - above[0].baseline for above, below in pairwise(rows[start : end + 1])]
    # Cells in the middle of a row may stand half a line lower than those beside them.
    leading = min(
        (step for step in steps if step >= BELOW * rows[end][0].size), default=LEADING * rows[end][0].size
    )
    while end + 1 < len(rows):
        last, line = rows[end][0], rows[end + 1][0]
        above = _lowest(rows[: end + 1], line.column)
        most = min(WIDER * max(leading, BELOW * last.size), LEADING * last.size)
        if line.baseline - last.baseline >= most or above is None or not _aligned(above, [line]):
            break
        end += 1
    return rows[start : end + 1]


def _fits(row: list[Word], others: list[list[Word]]) -> bool:
    """Return whether most cells of a row are in line with others of their columns; words of prose are not."""
    fitting = 0
    for cell in row:
        same = [other for cells in others for other in cells if other.column == cell.column]
        fitting += len(_aligned(cell, same)) >= max(1, 0.3 * len(same))
    close = all(right.x0 - left.x1 < 1.3 * left.size for left, right in pairwise(row))
    return fitting >= (0.75 if close else 0.5) * len(row)


def _lowest(rows: list[list[Word]], column: int) -> Word | None:
    return next((cell for row in reversed(rows) for cell in row if cell.column == column), None)


def _aligned(one: Word, others: list[Word]) -> list[Word]:
    """Return those of other cells that begin, end or have their middle where one has it."""
    x0, x1, slack = one.x0, one.x1, 0.6 * one.size
    return [
        other
        for other in others
        if abs(x0 - other.x0) < slack
        or abs(x1 - other.x1) < slack
        or abs(x0 + x1 - other.x0 - other.x1) < 2 * slack
    ]


def _table(
    rows: list[list[Word]], columns: Columns, every: list[list[Word]]
) -> tuple[Piece, set[tuple[int, int]]] | None:
    grid: list[list[list[Word]]] = []
    for row, begins in zip(rows, [True, *row_borders(rows)], strict=True):
        if begins:
            grid.append([[] for _ in columns])
        for cell in row:
            grid[-1][cell.column].append(cell)
    kept = [i for i in range(len(columns)) if any(row[i] for row in grid)]
    grid = [[row[i] for i in kept] for row in grid]
    if sum(sum(map(bool, row)) > 1 for row in grid) < 2 or len(kept) < 2 or not _is_table(grid):
        return None
    above = [row for row in every if row[0].baseline < rows[0][0].baseline - 0.35 * rows[0][0].size]
    grid = [*header_above(rows, above, [columns[i] for i in kept]), *grid]
    grid = _without_halves(grid)
    cells = [cell for row in grid for lines in row for cell in lines]
    # The numbers show where a column stands, because cells above them may reach over others.
    stacked = [[cell for row in grid for cell in row[i]] for i in range(len(grid[0]))]
    edges = [[cell for cell in column if is_amount(cell.text)] or column for column in stacked]
    table = Table(
        max(1, int(SCALE * median(cell.size for cell in cells))),
        [["\n".join(cell.text for cell in cell_lines) for cell_lines in row] for row in grid],
        [int(SCALE * min(cell.x0 for cell in cells)) for cells in edges],
        [int(SCALE * max(cell.x1 for cell in cells)) for cells in edges],
        _is_bold(grid[0]) and not _is_bold(grid[1]),
    )
    box = (
        int(SCALE * min(cell.x0 for cell in cells)),
        int(SCALE * min(cell.y0 for cell in cells)),
        int(SCALE * max(cell.x1 for cell in cells)),
        int(SCALE * max(cell.y1 for cell in cells)),
    )
    return table_piece(box, table), {place for cell in cells for place in (cell.place, *cell.also)}


def _without_halves(grid: list[list[list[Word]]]) -> list[list[list[Word]]]:
    """Join columns that never have a cell in one row: numbers of other lengths, and the year above them."""
    i = 1
    while i + 1 < len(grid[0]) and len(grid[0]) > 2:
        if any(row[i] and row[i + 1] for row in grid):
            i += 1
            continue
        grid = [[*row[:i], row[i] or row[i + 1], *row[i + 2 :]] for row in grid]
    return grid


def _is_bold(row: list[list[Word]]) -> bool:
    return all(cell.line[6] for cells in row for cell in cells)


def _is_table(grid: list[list[list[Word]]]) -> bool:
    """Return whether cells are filled, stand in line, and are neither columns of text nor the points of a list."""
    texts = [[" ".join(cell.text for cell in cells) for cells in row] for row in grid]
    every = [text for row in texts for text in row]
    if sum(map(bool, every)) < _FILLED * len(every) or max(map(len, every)) > _MAX_CELL_CHARACTERS:
        return False
    if len(grid[0]) == 2:
        if sum(_ITEM.fullmatch(row[0]) is not None or not row[0] for row in texts) > 0.5 * len(texts):
            return False
        lines = [[len(cell.text) for row in grid for cell in row[column]] for column in (0, 1)]
        if all(sum(lengths) > _LONG_LINES * len(lengths) for lengths in lines):
            return False
    in_line = sum(_in_line([row[column] for row in grid]) for column in range(len(grid[0])))
    return in_line >= 0.6 * len(grid[0])


def _in_line(cells: list[list[Word]]) -> bool:
    """Return whether most cells of a column begin, end or have their middle at one place."""
    firsts = [each[0] for each in cells if each]
    if len(firsts) < 2:
        return True
    size = firsts[0].size
    places: tuple[Callable[[Word], float], ...] = (_x0, _x1, lambda cell: (cell.x0 + cell.x1) / 2)
    return any(
        max(Counter([round(place(cell) / size) for cell in firsts]).values()) >= 0.5 * len(firsts)
        for place in places
    )
