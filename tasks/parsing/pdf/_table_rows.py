"""The rows of a table: lines beside each other, and lines one below the other that make one row of cells.

Rows have more space between them than the lines of one cell. Where all lines are equally far apart, the first column
shows where a row begins, or the number of lines above and below a cell in the middle of its row.
"""

from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter
from statistics import median
from typing import Final

from prefect_ollama.tasks.parsing.pdf._amounts import is_amount, is_year, with_signs
from prefect_ollama.tasks.parsing.pdf._layout import LONE_DOTS
from prefect_ollama.tasks.parsing.pdf._table_columns import Word

# Minimum number of separate dots in one row that lead to a number or a field. One may say that a number is not known.
_LEADERS: Final = 4
# Lengths from here on are in sizes of the type.
# Baselines of lines that are one below the other, and not beside each other, differ by at least this.
BELOW: Final = 0.9
# Baselines of lines in one cell differ by at most this.
LEADING: Final = 1.6
# The space between rows is this many times larger than the space between the lines of a cell.
WIDER: Final = 1.12
_edges = attrgetter("x0", "x1")


def rows_of(words: list[Word]) -> list[list[Word]]:
    """Return the lines that are beside each other, each row from left to right."""
    rows: list[list[Word]] = []
    for word in sorted(words, key=lambda word: word.baseline):
        if rows and word.baseline - rows[-1][0].baseline < 0.35 * min(word.size, rows[-1][0].size):
            rows[-1].append(word)
        else:
            rows.append([word])
    return [with_signs(sorted(_without_leaders(row), key=_edges)) for row in rows]


def _without_leaders(row: list[Word]) -> list[Word]:
    """Return a row without the dots that lead to a field of a form, where these are set far apart."""
    if len(row) <= _LEADERS:
        return row
    words = [word for word in row if not LONE_DOTS.fullmatch(word.text)]
    return words if words and len(row) - len(words) >= _LEADERS else row


def row_borders(rows: list[list[Word]]) -> list[bool]:
    """Return for each line except the first whether it begins a row of the table."""
    found = _by_spacing(rows)
    amounts: set[int] = set()
    for i, row in enumerate(rows):
        here = {cell.column for cell in row if cell.column > 0 and is_amount(cell.text)}
        if i and not found[i - 1]:
            # Two numbers one below the other in a column are two rows, however close they stand; so are a year and
            # a number, and the name of a group and its first row.
            above = rows[i - 1]
            found[i - 1] = not here.isdisjoint(amounts) or bool(
                here and (any(is_year(cell.text) for cell in above) or above[0].text.rstrip().endswith(":"))
            )
        amounts = here if not i or found[i - 1] else amounts | here
    return found


def _by_spacing(rows: list[list[Word]]) -> list[bool]:
    size = median(cell.size for row in rows for cell in row)
    steps = [below[0].baseline - above[0].baseline for above, below in pairwise(rows)]
    below = [step >= BELOW * size for step in steps]
    smallest = min((step for step in steps if step >= BELOW * size), default=0.0)
    if smallest > LEADING * size:
        return below
    filled = [{cell.column for cell in row} for row in rows]
    wide = [step > WIDER * smallest for step in steps]
    narrow = [i for i, (far, under) in enumerate(zip(wide, below, strict=True)) if under and not far]
    whole = sum(filled[i + 1] >= filled[i] and len(filled[i]) > 1 for i in narrow)
    if any(wide) and (whole <= 0.4 * len(narrow) or len(narrow) <= 1.5 * sum(wide)):
        return wide
    if centred := centred_rows(filled):
        return centred
    first = [0 in columns for columns in filled]
    if not all(first) and sum(first) >= 0.4 * len(first) and first[0]:
        return [under and begins for under, begins in zip(below, first[1:], strict=True)]
    return below


def centred_rows(filled: Sequence[set[int]]) -> list[bool] | None:
    """Return for each line except the first whether it begins a row; None if cells do not stand in the middle.

    Args:
        filled: For each line of the table the columns in which it has text.
    """
    whole = [i for i, columns in enumerate(filled) if 0 in columns and len(columns) > 1]
    if len(whole) < 3 or len(whole) == len(filled):
        return None
    above = [whole[0]]
    for first, second in pairwise(whole):
        above.append(second - first - 1 - above[-1])
        if above[-1] < 0:
            return None
    # Lines above the first row below the header: no table has these whose cells stand at the top of their rows. The
    # lines below the last row may have been taken for text.
    if not above[1] or len(filled) - 1 - whole[-1] > above[-1]:
        return None
    starts = {at - lines for at, lines in zip(whole, above, strict=True)}
    return [i in starts for i in range(1, len(filled))]
