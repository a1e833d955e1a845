"""Tables as text that a model can read: Markdown with one row for each line, the header first.

If lines are side by side in columns, these lines and those around them are analysed. The lines of a table are removed
from the text, so that each line occurs exactly once.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from prefect_ollama.tasks.parsing.dropped import Dropped
from prefect_ollama.tasks.parsing.pdf._layout import (
    LEADERS,
    NOTE_SIZE,
    Cell,
    Piece,
    RawPage,
    Row,
    Table,
    around,
    table_piece,
)
from prefect_ollama.tasks.parsing.pdf._lines import is_right_to_left
from prefect_ollama.tasks.parsing.pdf._stext import VERTICAL, TextBlock, block_of
from prefect_ollama.tasks.parsing.pdf._table_columns import Word
from prefect_ollama.tasks.parsing.pdf._table_grid import MAX_COLUMNS, tables_in
from prefect_ollama.tasks.parsing.pdf._table_header import header_rows

# Characters that show nothing: white space, invisible characters, and those of a font without a character map.
_NOTHING: Final = re.compile(r"[\s\x00-\x1f\x7f-\xa0\u200b-\u200f\ufeff\ufffd\ue000-\uf8ff]*")
# Maximum rows of a table that are analysed. Only a hostile page has more.
_MAX_ROWS: Final = 5000
# Largest distance between two rows of a table, in sizes of the type, because cells may have several lines.
_FAR: Final = 12
# Distance above and below the rows in which further rows are searched, in sizes of the type.
_AROUND: Final = 15


def find_tables(
    blocks: list[TextBlock | Piece], rows: list[Row], height: float
) -> Sequence[TextBlock | Piece]:
    """Find the tables of a page of this height, in points, where cells stand side by side in `rows`.

    Returns:
        The blocks without the lines that stand in tables, and the tables at their places.
    """
    taken: set[tuple[int, int]] = set()
    at: dict[tuple[int, int], Piece] = {}
    for group in _groups(rows):
        if not _in_columns(group):
            continue
        words = _words(blocks, group, taken)
        mirrored = is_right_to_left(" ".join([word.text for word in words]))
        for table, places in tables_in([word.in_mirror() for word in words] if mirrored else words, height):
            if mirrored:
                table.x0, table.x1 = -table.x1, -table.x0
            taken |= places
            at[min(places)] = table
    return list(_without(blocks, taken, at)) if at else blocks


def _groups(rows: list[Row]) -> list[list[Row]]:
    groups: list[list[Row]] = []
    # Only the last rows of a group are compared, so that the time stays linear.
    for row in sorted(rows[:_MAX_ROWS], key=lambda row: row.y0):
        for group in groups:
            size = row.size
            if (
                row.y0 <= group[-1].y1 + _FAR * size
                and row.x0 <= max(other.x1 for other in group[-8:]) + 3 * size
                and row.x1 >= min(other.x0 for other in group[-8:]) - 3 * size
            ):
                group.append(row)
                break
        else:
            groups.append([row])
    return groups


def _in_columns(rows: list[Row]) -> bool:
    """Return whether several rows have a cell that begins, or one that ends, at the same place."""
    if len(rows) < 2:
        return False
    size = rows[0].size
    starts = Counter(round(row.second / size) for row in rows)
    ends = Counter(round(row.x1 / size) for row in rows)
    least = 2 if len(rows) == 2 and min(row.cells for row in rows) > 2 else 3
    return any(
        counted[place] + counted[place + 1] >= least for counted in (starts, ends) for place in list(counted)
    )


def _words(blocks: list[TextBlock | Piece], group: list[Row], taken: set[tuple[int, int]]) -> list[Word]:
    """Return the lines around rows: what may be the header above, and the last lines below, included."""
    size = max(row.size for row in group)
    x0, x1 = min(row.x0 for row in group), max(row.x1 for row in group)
    top = min(row.y0 for row in group) - _AROUND * size
    bottom = max(row.y1 for row in group) + _AROUND * size
    found = []
    for i, block in enumerate(blocks):
        if isinstance(block, Piece) or block.y1 < top or block.y0 > bottom or block.x1 < x0 or block.x0 > x1:
            continue
        for k, line in enumerate(block.lines):
            left, high, right, low, baseline, own_size, _, vertical, _ = line
            text = block.texts[k]
            if (
                # A cell of the last column may be wider than all that stands beside other cells.
                (x0 <= (left + right) / 2 <= x1 or x0 < left < x1 - own_size)
                and top <= (high + low) / 2 <= bottom
                and vertical != VERTICAL
                and not _NOTHING.fullmatch(text)
                and (i, k) not in taken
            ):
                # A line that begins with a small raised sign is as large as lines of its height are.
                own_size = own_size if own_size >= 0.55 * (low - high) else 0.75 * (low - high)
                if own_size > 0:
                    found.append(Word(left, right, high, low, baseline, own_size, text, (i, k), line))
    return found


def _without(
    blocks: list[TextBlock | Piece], taken: set[tuple[int, int]], at: dict[tuple[int, int], Piece]
) -> Iterator[TextBlock | Piece]:
    touched = {block for block, _ in taken}
    for i, block in enumerate(blocks):
        if i not in touched or isinstance(block, Piece):
            yield block
            continue
        start = 0
        for k in range(len(block.lines) + 1):
            if k < len(block.lines) and (i, k) not in taken:
                continue
            if k > start:
                part = block_of(block.lines[start:k], block.texts[start:k])
                yield part._replace(even=block.even)
            if (i, k) in at:
                yield at[i, k]
            start = k + 1


def tables_of_rows(page: RawPage) -> None:
    """Make tables of the remaining successive rows of cells, if the cells stand in columns."""
    run: list[Piece] = []
    for piece in [*page.pieces, None]:
        if piece is not None and piece.rows and not LEADERS.search(piece.text):
            if run and not 0 <= piece.y0 - run[-1].y1 + piece.size <= 3.5 * piece.size:
                _make_table(page, run)
                run = []
            run.append(piece)
        elif run:
            _make_table(page, run)
            run = []


def _make_table(page: RawPage, run: list[Piece]) -> None:
    rows = [row for piece in run for row in piece.rows or ()]
    if len(rows) < 3 or not any(character.isalnum() for piece in run for character in piece.text):
        return
    columns = _columns(rows)
    if not 2 <= len(columns) <= MAX_COLUMNS:
        return
    texts = [["" for _ in columns] for _ in rows]
    for row, cells in zip(rows, texts, strict=True):
        for cell in row:
            at = [i for i, (x0, x1) in enumerate(columns) if cell.x0 <= x1 and cell.x1 >= x0]
            if len(at) != 1 or cells[at[0]]:
                return
            cells[at[0]] = cell.text
    if sum(bool(text) for cells in texts for text in cells) >= 0.6 * len(rows) * len(columns):
        table = Table(run[0].size, texts, [x0 for x0, _ in columns], [x1 for _, x1 in columns])
        _replace(page, run, table_piece(around(run), table))


def _columns(rows: list[list[Cell]]) -> list[tuple[int, int]]:
    columns: list[tuple[int, int]] = []
    for cell in sorted((cell for row in rows for cell in row), key=lambda cell: cell.x0):
        if columns and cell.x0 <= columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], cell.x1))
        else:
            columns.append((cell.x0, cell.x1))
    return columns


def _replace(page: RawPage, pieces: list[Piece], table: Piece) -> None:
    gone = set(map(id, pieces))
    at = next(i for i, piece in enumerate(page.pieces) if id(piece) in gone)
    rest = [piece for piece in page.pieces if id(piece) not in gone]
    page.pieces = [*rest[:at], table, *rest[at:]]


def join_tables(pages: list[RawPage], body_size: int, dropped: Dropped) -> None:
    """Mark the tables that go on from the page before, and take away headers that they repeat.

    A page with nothing but the header keeps it.
    """
    before: Table | None = None
    header: list[list[str]] = []
    for last, page in zip([None, *pages], pages, strict=False):
        first = next((piece.table for piece in page.pieces if not piece.margin), None)
        if before is None or last is None or page.number != last.number + 1:
            pass
        elif first is not None and _goes_on(before, first, header):
            first.continues = True
            if _begins_with(first, header) and (len(first.rows) > len(header) or len(page.pieces) > 1):
                for _ in header:
                    dropped.line("table-header", " ".join(first.rows.pop(0)))
            if not first.rows:
                page.pieces = [piece for piece in page.pieces if piece.table is not first]
        before = _at_end(page, body_size)
        if before is not None and not before.continues:
            header = list(map(_words_of, before.rows[: max(1, header_rows(before.rows))]))


def _at_end(page: RawPage, body_size: int) -> Table | None:
    """Return the table at the end of a page, before its footnotes; None without such a table."""
    for piece in reversed(page.pieces):
        if piece.table is not None or (piece.size >= NOTE_SIZE * body_size and not piece.margin):
            return piece.table
    return None


def _begins_with(table: Table, header: list[list[str]]) -> bool:
    return bool(header) and list(map(_words_of, table.rows[: len(header)])) == header


def _goes_on(before: Table, table: Table, header: list[list[str]]) -> bool:
    """Return whether a table continues the table before: it has the same header, or no header and the same columns."""
    if len(table.columns) != len(before.columns):
        return False
    if _begins_with(table, header):
        return True
    slack = max(before.size, table.size)
    places = zip(before.columns, table.columns, strict=True)
    moved = table.columns[0] - before.columns[0]
    return not table.bold and all(abs(other - one - moved) < slack for one, other in places)


def _words_of(row: list[str]) -> list[str]:
    return ["".join(cell.split()) for cell in row]


def as_markdown(rows: list[list[str]], header: bool = True) -> str:
    """Write a table with its first row as header, or without one."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    if header:
        lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines)
