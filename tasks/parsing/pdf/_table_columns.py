"""The columns of a table, which are separated by empty strips, and the column of each cell."""

from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Final, Self

from prefect_ollama.tasks.parsing.pdf._glyphs import edges
from prefect_ollama.tasks.parsing.pdf._stext import Line

# Number of rows from which one row may reach over a gap between columns.
_SOME_ROWS: Final = 3
# Texts with at least this space between them are separate cells, in sizes of the type.
_APART: Final = 0.2


@dataclass(slots=True)
class Word:
    """A line or a part of one.

    Attributes:
        x0, x1, y0, y1: Left, right, top and bottom edge, in points as all of these.
        baseline: Height of its baseline.
        place: Number of its block, and of its line in the block.
        also: Numbers of block and line of further lines that belong to it.
        mirrored: Whether left and right are exchanged, as in tables that are written from right to left.
    """

    x0: float
    x1: float
    y0: float
    y1: float
    baseline: float
    size: float
    text: str
    place: tuple[int, int]
    line: Line
    column: int = -1
    also: tuple[tuple[int, int], ...] = ()
    mirrored: bool = False

    def in_mirror(self) -> Self:
        """Return the word with its left and right edge exchanged."""
        return replace(self, x0=-self.x1, x1=-self.x0, mirrored=not self.mirrored)

    def edges(self) -> list[tuple[float, float]]:
        """Return the left and right edge of every character; guessed for a mirrored word."""
        if not self.mirrored:
            return edges(self.line, self.text)
        step = (self.x1 - self.x0) / len(self.text)
        return [(self.x0 + i * step, self.x0 + (i + 1) * step) for i in range(len(self.text))]


# Left and right edges, in points.
Columns = list[tuple[float, float]]


def columns_of(rows: list[list[Word]]) -> Columns:
    """Return the columns of rows with several cells. A few of these rows may cross a gap."""
    rows = [row for row in rows if len(row) > 1]
    cells = [cell for row in rows for cell in row]
    tolerated = max(len(rows) // 4, len(rows) >= _SOME_ROWS)
    columns = _covered(cells, tolerated)
    # Cells alone in a gap are a column with few cells.
    alone = [cell for cell in cells if all(cell.x0 >= x1 or cell.x1 <= x0 for x0, x1 in columns)]
    return sorted([*columns, *_covered(alone, 0)])


def _covered(cells: list[Word], tolerated: int) -> Columns:
    """Return the strips with more than `tolerated` cells one below the other, as left and right edges."""
    if not cells:
        return []
    edges = sorted([(cell.x0, 1) for cell in cells] + [(cell.x1, -1) for cell in cells])
    least = _APART * median(cell.size for cell in cells)
    found: Columns = []
    covered = 0
    begun: float | None = None
    for x, step in edges:
        covered += step
        if covered > tolerated and begun is None:
            begun = x
        elif covered <= tolerated and begun is not None:
            if found and begun - found[-1][1] < least:
                begun = found.pop()[0]
            found.append((begun, x))
            begun = None
    return found


def placed(rows: list[list[Word]], columns: Columns) -> list[list[Word]]:
    """Set the column of each cell; a cell over several columns is divided at a space between them."""
    for row in rows:
        for i in reversed(range(len(row))):
            word = row[i]
            over = columns_under(word, columns)
            word.column = over[0]
            if len(over) > 1 and len(row) > 1:
                parts = _parted(word, columns)
                if len(parts) > 1:
                    for part in parts:
                        part.column = columns_under(part, columns)[0]
                    row[i : i + 1] = parts
    return rows


def columns_under(cell: Word, columns: Columns) -> list[int]:
    """Return the columns that a cell reaches over, or the nearest one."""
    slack = 0.2 * cell.size
    # By far the most stand within one.
    left, right = cell.x0 + slack, cell.x1 - slack
    for i, (x0, x1) in enumerate(columns):
        if x0 < left < right < x1 and right - left > slack:
            return [i]
    found = [
        i
        for i, (x0, x1) in enumerate(columns)
        if min(cell.x1, x1) - max(cell.x0, x0) > min(slack, 0.5 * (x1 - x0))
    ]
    if found:
        return found
    middle = (cell.x0 + cell.x1) / 2
    return [min(range(len(columns)), key=lambda i: abs(middle - sum(columns[i]) / 2))]


def _parted(word: Word, columns: Columns) -> list[Word]:
    gaps = [
        (left, right) for (_, left), (right, _) in pairwise(columns) if word.x0 < left and word.x1 > right
    ]
    spaces = [
        i for i, character in enumerate(word.text) if character.isspace() and 0 < i < len(word.text) - 1
    ]
    if not gaps or not spaces:
        return [word]
    places = word.edges()
    slack = 0.4 * word.size
    parts: list[Word] = []
    start = 0
    for left, right in gaps:
        between = [i for i in spaces if i > start and left - slack < sum(places[i]) / 2 < right + slack]
        if between:
            # The widest of them, and of those as wide the one that the next column follows most closely.
            widths = {i: round((places[i + 1][0] - places[i - 1][1]) / slack) for i in between}
            end = max(between, key=lambda i: (widths[i], -abs(places[i + 1][0] - right)))
            parts.append(replace(word, text=word.text[start:end], x0=places[start][0], x1=places[end - 1][1]))
            start = end + 1
    return [*parts, replace(word, text=word.text[start:], x0=places[start][0])]
