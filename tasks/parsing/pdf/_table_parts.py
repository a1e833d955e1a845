"""Parts of one table: what a line across it, such as the name of a group of rows, has divided on its page."""

from dataclasses import replace
from typing import Final

from prefect_ollama.tasks.parsing.pdf._layout import Piece, RawPage, Table, table_piece
from prefect_ollama.tasks.parsing.pdf._table_header import header_rows

# Maximum number of lines between two parts of a table, and of characters in each line.
_MAX_LINES: Final = 3
_MAX_LINE_CHARACTERS: Final = 120
# Lengths are in sizes of the type: columns are the same if they end, or begin, no farther apart; and there is no more
# space than this between one part and what follows it.
_APART: Final = 1.2
_FAR: Final = 2.5


def join_parts(page: RawPage) -> None:
    """Join the parts of a table in place, the lines between them becoming rows that name a group.

    The first part has the header, the others have none, and their columns stand below its columns.
    """
    joined: list[Piece] = []
    for piece in page.pieces:
        if piece.table is None and not piece.text.strip():
            continue
        at = _whole(joined) if piece.table is not None else None
        whole = None if at is None else _together(joined[at], joined[at + 1 :], piece)
        if whole is None:
            joined.append(piece)
        else:
            joined[at:] = [whole]
    page.pieces = joined


def _whole(pieces: list[Piece]) -> int | None:
    """Return the place of the table that the last pieces may be a part of."""
    for at in reversed(range(max(0, len(pieces) - _MAX_LINES - 1), len(pieces))):
        piece = pieces[at]
        if piece.table is not None:
            return at
        if (
            piece.lines > 2
            or piece.margin
            or len(piece.text) > _MAX_LINE_CHARACTERS
            or piece.text.rstrip().endswith((".", ";"))
        ):
            return None
    return None


def _together(one: Piece, between: list[Piece], other: Piece) -> Piece | None:
    first, second = one.table, other.table
    if first is None or second is None or not header_rows(first.rows) or header_rows(second.rows):
        return None
    size = max(one.size, other.size)
    bottom = one.y1
    for piece in (*between, other):
        if not -size < piece.y0 - bottom < _FAR * size or not one.x0 - 2 * size < piece.x0 < one.x1:
            return None
        bottom = piece.y1
    columns = _columns(first, second, _APART * size)
    if columns is None:
        return None
    width = len(first.columns)
    rows = [*first.rows, *([" ".join(piece.text.split()), *[""] * (width - 1)] for piece in between)]
    for row in second.rows:
        cells = [""] * width
        for column, cell in zip(columns, row, strict=True):
            cells[column] = cell
        rows.append(cells)
    ends = list(first.ends)
    for column, end in zip(columns, second.ends, strict=True):
        ends[column] = max(ends[column], end)
    box = min(one.x0, other.x0), one.y0, max(one.x1, other.x1), other.y1
    return table_piece(box, replace(first, rows=rows, ends=ends))


def _columns(first: Table, second: Table, slack: float) -> list[int] | None:
    """Return for each column of the second table the column of the first above it; None if the columns differ."""
    found = [0]
    for x0, x1 in zip(second.columns[1:], second.ends[1:], strict=True):
        same = [
            i
            for i in range(found[-1] + 1, len(first.columns))
            if abs(first.ends[i] - x1) < slack or abs(first.columns[i] - x0) < slack
        ]
        if not same:
            return None
        found.append(same[0])
    return found
