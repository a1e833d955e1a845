"""The header of a table: the rows with years, periods and units above its numbers, also without ruling."""

import re
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Final

from prefect_ollama.tasks.parsing.pdf._amounts import is_amount, is_year
from prefect_ollama.tasks.parsing.pdf._table_columns import Columns, Word, columns_under

# Maximum number of lines above a table that may be its header.
_MAX_LINES: Final = 6
# Lengths are in sizes of the type. Maximum distance between lines of a header, and to the first row below it.
_FAR: Final = 2.4
# Maximum distance between lines of one cell.
_LEADING: Final = 1.35
# Characters of a cell of a header. A longer line is a sentence above the table.
_MAX_HEADER_CELL_CHARACTERS: Final = 60
# A table with more rows of header than these has no header but groups of rows.
_MAX_ROWS: Final = 6

# English names, in full and abbreviated.
_MONTH: Final = (
    "(?:jan|febr?|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)(?:\\.|uary|ch|il|e|y|ust|tember|ober|ember)?"
)
# Words of English reports that name a period. Years alone are found in any language.
_PERIOD: Final = re.compile(
    rf"\b(?:years?|quarters?|months?|weeks?|periods?|fiscal|ended|ending|as of|as at|{_MONTH}|"
    r"Q[1-4]|[1-4]Q|H[12]|FY|full.year|actual|budget|forecast|change|variance)\b",
    re.IGNORECASE,
)
# Words and signs that name a unit.
_UNIT: Final = re.compile(
    r"\b(?:in|amounts?|dollars?|euros?|pounds?|millions?|thousands?|billions?|per share|per cent|percent(?:age)?|"
    r"unaudited|audited|mio|mrd|mn|bn)\b|[%$€£¥]",
    re.IGNORECASE,
)
# A line about units without brackets begins so: "In thousands of euros".
_IN: Final = re.compile(r"(?:amounts |dollars |expressed )?in ", re.IGNORECASE)
# Most reports set units in brackets.
_BRACKETS: Final = re.compile(r"[(\[].*[)\]]")


def is_unit(text: str) -> bool:
    """Return whether a line only says in which unit numbers are, such as "(in millions, except per share data)"."""
    text = text.strip()
    if len(text) > 100 or is_amount(text) or _UNIT.search(text) is None:
        return False
    return _BRACKETS.fullmatch(text) is not None or _IN.match(text) is not None


def is_period(text: str) -> bool:
    """Return whether a line has only years or periods of numbers."""
    words = text.split()
    return bool(words) and (
        all(map(is_year, words))
        or (
            len(text) <= _MAX_HEADER_CELL_CHARACTERS
            and _PERIOD.search(text) is not None
            and text[-1] not in ".;:"
        )
    )


def header_above(
    rows: Sequence[list[Word]], above: Sequence[list[Word]], columns: Columns
) -> list[list[list[Word]]]:
    """Find the rows of cells that stand above a table and are its header.

    Args:
        above: The rows above it on the page, from top to bottom.
        columns: Left and right edges of the columns of the table, in points.

    Returns:
        Rows of cells, a list of lines for each column.
    """
    found: list[list[Word]] = []
    below = rows[0]
    size = median(cell.size for cell in below)
    for row in reversed(above[-_MAX_LINES:]):
        far = below[0].baseline - row[0].baseline > _FAR * max(size, row[0].size)
        if far or not (_is_header(row, columns) or _names_group(row, columns)):
            break
        found.insert(0, _placed(row, columns))
        below = row
    # Text over the first column alone, or with units alone, is a title and no row of cells.
    while found and (
        all(cell.column == 0 for cell in found[0]) or (len(found[0]) == 1 and is_unit(found[0][0].text))
    ):
        found.pop(0)
    return _grid(found, columns)


def _is_header(row: list[Word], columns: Columns) -> bool:
    texts = [cell.text.strip() for cell in row]
    left, right, first = columns[0][0], columns[-1][1], columns[min(1, len(columns) - 1)][0]
    slack = 2 * row[0].size
    if row[0].x0 < left - slack or row[-1].x1 > right + slack or any(map(is_amount, texts)):
        return False
    if any(len(text) > _MAX_HEADER_CELL_CHARACTERS for text in texts):
        return False
    if len(row) == 1:
        text = texts[0]
        over_data = row[0].x0 > first - slack
        return is_unit(text) or is_period(text) or (over_data and text[-1:] not in ".;:")
    # Years stand in the middle above wide columns of numbers, and so begin left of these.
    return all(cell.x0 > (left + first) / 2 for cell in row[1:])


def _names_group(row: list[Word], columns: Columns) -> bool:
    """Return whether a line names the group of rows below it, as "Cash flows from operating activities:" does."""
    line = row[0]
    return (
        len(row) == 1
        and abs(line.x0 - columns[0][0]) < 2 * line.size
        and line.x1 < columns[-1][0]
        and line.text.rstrip().endswith(":")
    )


def _placed(row: list[Word], columns: Columns) -> list[Word]:
    """Return for each cell the column above which it begins; divide years that are one line for MuPDF."""
    found: list[Word] = []
    for cell in row:
        words = cell.text.split()
        if len(words) > 1 and all(map(is_year, words)):
            places = cell.edges()
            for match in re.finditer(r"\S+", cell.text):
                x0, x1 = places[match.start()][0], places[match.end() - 1][1]
                found.append(replace(cell, text=match[0], x0=x0, x1=x1))
        else:
            found.append(replace(cell))
    labelled = len(found) > 1 and found[0].x0 < columns[0][0] + 2 * found[0].size
    for cell in found:
        cell.column = columns_under(cell, columns)[0]
    data = found[1:] if labelled else found
    if len(data) == len(columns) - 1 > 1:
        # One for each column of numbers: their order says more than where they stand.
        for i, cell in enumerate(data, 1):
            cell.column = i
    return found


def _grid(rows: list[list[Word]], columns: Columns) -> list[list[list[Word]]]:
    """Make rows of cells, lines that stand closely one above the other in one cell."""
    grid: list[list[list[Word]]] = []
    for i, row in enumerate(rows):
        cells: list[list[Word]] = [[] for _ in columns]
        for cell in row:
            cells[cell.column].append(cell)
        if i and _go_on(rows[i - 1], row, columns):
            for above, own in zip(grid[-1], cells, strict=True):
                above += own
        else:
            grid.append(cells)
    return grid


def _go_on(above: list[Word], row: list[Word], columns: Columns) -> bool:
    """Return whether a row has the further lines of cells that begin in the row above it."""
    if row[0].baseline - above[0].baseline > _LEADING * max(row[0].size, above[0].size):
        return False
    if any(is_year(cell.text) or is_unit(cell.text) for cell in (*above, *row)):
        return False
    if any(is_period(cell.text) or len(columns_under(cell, columns)) > 1 for cell in above):
        return False
    return {cell.column for cell in above} <= {cell.column for cell in row}


def header_rows(rows: Sequence[Sequence[str]]) -> int:
    """Count the rows at the top of a table that are its header.

    Those are the rows above the first number that say something of the other columns than the first; in a table
    without numbers the first row.
    """
    if not any(is_amount(cell) for row in rows for cell in row[1:]):
        return 1 if len(rows) > 1 else 0
    count = 0
    for i, row in enumerate(rows[:_MAX_ROWS]):
        if any(is_amount(cell) for cell in row[1:]):
            break
        if any(cell.strip() for cell in row[1:]):
            count = i + 1
    return count if count < len(rows) else 0
