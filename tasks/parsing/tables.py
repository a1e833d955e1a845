"""Tables as text that a model can read: Markdown, one row a line, the header first.

A page that holds lines side by side is looked at again by MuPDF, which hunts for tables there: only within the
region of those lines, because over columns of text it finds tables that are none. What it finds is believed
when it holds the very letters that stand there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

from prefect_ollama.tasks.parsing.lines import LEADERS, SCALE, Cell, Piece, RawPage, Row, Table

# A grid of which fewer cells than this hold text is a frame, not a table.
_FILLED: Final = 0.4
# A cell with more characters than this is a column of the page, not of a table.
_LONGEST_CELL: Final = 600
_MOST_COLUMNS: Final = 30
_MOST_REGIONS: Final = 8
# Rows of one table may have so much between them, in sizes of the type: cells of several lines.
_FAR: Final = 12
# Cells are apart by more than words are, in sizes of the type.
_APART: Final = 0.45


def regions(page: RawPage) -> list[tuple[float, float, float, float]]:
    """Say where a page may hold tables, as rectangles in points: around lines that stand side by side in columns."""
    groups: list[list[Row]] = []
    for row in sorted(page.rows, key=lambda row: row.y0):
        for group in groups:
            size = row.size
            if (
                row.y0 <= group[-1].y1 + _FAR * size
                and row.x0 <= max(other.x1 for other in group) + 3 * size
                and row.x1 >= min(other.x0 for other in group) - 3 * size
            ):
                group.append(row)
                break
        else:
            groups.append([row])
    hunted = [group for group in groups if _in_columns(group) and not _is_grid(page, group)]
    return [_widened(page, group) for group in hunted[:_MOST_REGIONS]]


def _in_columns(rows: list[Row]) -> bool:
    """Whether several rows have a cell that begins, or one that ends, at the same place."""
    if len(rows) < 2:
        return False
    size = rows[0].size
    starts = Counter(round(row.starts[1] / size) for row in rows)
    ends = Counter(round(row.x1 / size) for row in rows)
    least = 2 if len(rows) == 2 and min(len(row.starts) for row in rows) > 2 else 3
    return any(
        counted[place] + counted[place + 1] >= least for counted in (starts, ends) for place in list(counted)
    )


def _is_grid(page: RawPage, rows: list[Row]) -> bool:
    """Whether rows make a table by themselves: each of one line, each with a cell in every column, nothing between.

    `tables_of_rows` makes it then, and MuPDF's hunt, which takes longer than reading the page, is saved.
    """
    if len(rows) < 3 or len({len(row.starts) for row in rows}) > 1:
        return False
    if any(below.y0 - above.y1 > 1.5 * below.size for above, below in pairwise(rows)):
        return False
    top, bottom = rows[0].y0, rows[-1].y1
    left, right = min(row.x0 for row in rows), max(row.x1 for row in rows)
    return not any(
        piece.rows is None and piece.y0 < bottom and piece.y1 > top and piece.x0 < right and piece.x1 > left
        for piece in page.pieces
    )


def _widened(page: RawPage, rows: list[Row]) -> tuple[float, float, float, float]:
    """Take in the pieces that reach out of the region, and what may be its header above and its last lines below."""
    size = max(row.size for row in rows)
    top, bottom = min(row.y0 for row in rows) - 3.5 * size, max(row.y1 for row in rows) + 3.5 * size
    x0, x1 = min(row.x0 for row in rows), max(row.x1 for row in rows)
    inside = [
        piece
        for piece in page.pieces
        if x0 <= (piece.x0 + piece.x1) / 2 <= x1 and top <= (piece.y0 + piece.y1) / 2 <= bottom
    ]
    x0, x1 = min([x0, *(p.x0 for p in inside)]), max([x1, *(p.x1 for p in inside)])
    return (x0 - 20) / SCALE, top / SCALE, (x1 + 20) / SCALE, bottom / SCALE


def read_tables(structured_text: dict[str, Any]) -> list[Table]:
    """Find the tables in structured text in which MuPDF has hunted for them."""
    loose: list[dict[str, Any]] = []
    nodes = list(_nodes(structured_text["blocks"], loose))
    return [table for node in nodes if (table := _table(node, loose)) is not None]


def _nodes(blocks: list[dict[str, Any]], loose: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for block in blocks:
        if block["type"] == "structure":
            if block.get("std") == "Table":
                yield block
            else:
                yield from _nodes(block["contents"], loose)
        else:
            loose += block.get("lines", ())


def _table(node: dict[str, Any], loose: list[dict[str, Any]]) -> Table | None:
    rows = [
        [_lines(cell) for cell in row["contents"] if cell.get("std") == "TD"]
        for row in node["contents"]
        if row.get("std") == "TR"
    ]
    # What MuPDF takes for a first or last row of one cell is the text above or below the table.
    while rows and sum(map(bool, rows[0])) < 2:
        del rows[0]
    while rows and sum(map(bool, rows[-1])) < 2:
        del rows[-1]
    rows = _without_empty(rows)
    if len(rows) < 2 or not 2 <= len(rows[0]) <= _MOST_COLUMNS:
        return None
    if not _cells_apart(rows):
        return None
    _add_tail(rows, loose)
    head = _head(rows, loose)
    if head:
        rows.insert(0, head)
    texts = [["\n".join(line["text"] for line in cell) for cell in row] for row in rows]
    cells = [text for row in texts for text in row]
    if sum(map(bool, cells)) < _FILLED * len(cells) or max(map(len, cells)) > _LONGEST_CELL:
        return None
    boxes = [line["bbox"] for row in rows for cell in row for line in cell]
    return Table(
        min(box["x"] for box in boxes),
        min(box["y"] for box in boxes),
        max(box["x"] + box["w"] for box in boxes),
        max(box["y"] + box["h"] for box in boxes),
        texts,
    )


def _lines(node: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for block in node["contents"]:
        if block["type"] == "structure":
            found += _lines(block)
        else:
            found += [line for line in block.get("lines", ()) if line["text"].strip()]
    return found


def _without_empty(rows: list[list[list[dict[str, Any]]]]) -> list[list[list[dict[str, Any]]]]:
    width = max(map(len, rows), default=0)
    full = [[*row, *([] for _ in range(width - len(row)))] for row in rows if any(row)]
    columns = [i for i in range(width) if any(row[i] for row in full)]
    return [[row[i] for i in columns] for row in full]


def _cells_apart(rows: list[list[list[dict[str, Any]]]]) -> bool:
    """Whether cells are parted by more than a space between words, and are no dots that lead to a page number."""
    wide = narrow = 0
    for row in rows:
        cells = [cell for cell in row if cell]
        for left, right in pairwise(cells):
            gap = min(line["bbox"]["x"] for line in right) - max(
                line["bbox"]["x"] + line["bbox"]["w"] for line in left
            )
            size = left[0]["font"]["size"]
            if gap < _APART * size or any(LEADERS.search(line["text"]) for line in left):
                narrow += 1
            else:
                wide += 1
    return wide > 4 * narrow


def _add_tail(rows: list[list[list[dict[str, Any]]]], loose: list[dict[str, Any]]) -> None:
    """Give the cells of the last row the lines below them: without a rule at its foot a table seems to end early."""
    for cell in rows[-1]:
        for line in sorted(loose, key=lambda line: line["y"]):
            if not cell:
                continue
            last, size = cell[-1]["bbox"], cell[-1]["font"]["size"]
            if (
                abs(line["bbox"]["x"] - last["x"]) < 0.3 * size
                and 0 < line["y"] - cell[-1]["y"] < 1.45 * size
            ):
                cell.append(line)


def _head(
    rows: list[list[list[dict[str, Any]]]], loose: list[dict[str, Any]]
) -> list[list[dict[str, Any]]] | None:
    """Find the header of a table that a rule parts from it: lines right above that each belong to one column."""
    top = min(line["bbox"]["y"] for cell in rows[0] for line in cell)
    size = max(line["font"]["size"] for cell in rows[0] for line in cell)
    columns = []
    for i in range(len(rows[0])):
        boxes = [line["bbox"] for row in rows for line in row[i]]
        columns.append((min(b["x"] for b in boxes), max(b["x"] + b["w"] for b in boxes)))
    head: list[list[dict[str, Any]]] = [[] for _ in columns]
    for line in loose:
        box = line["bbox"]
        if not (top - 3.5 * size <= box["y"] and box["y"] + box["h"] <= top + 0.5 * size):
            continue
        at = [
            i
            for i, (x0, x1) in enumerate(columns)
            if box["x"] < x1 + 0.5 * size and box["x"] + box["w"] > x0 - 0.5 * size
        ]
        if len(at) != 1:
            return None
        head[at[0]].append(line)
    return head if sum(map(bool, head)) >= 2 else None


def place_tables(page: RawPage) -> None:
    """Put every table in the place of the pieces that it holds."""
    for table in page.tables:
        inside = [piece for piece in page.pieces if piece.table is None and _holds(table, piece)]
        if inside and _letters_of_table(table) == _letters(inside):
            _replace(page, inside, table)


def tables_of_rows(page: RawPage) -> None:
    """Make tables of what is left of rows of cells that follow each other, where the cells stand in columns."""
    run: list[Piece] = []
    for piece in [*page.pieces, None]:
        if piece is not None and piece.rows and not LEADERS.search(piece.text):
            if run and not 0 <= piece.y0 - run[-1].y1 + piece.size <= 3.5 * piece.size:
                _make(page, run)
                run = []
            run.append(piece)
        elif run:
            _make(page, run)
            run = []


def _make(page: RawPage, run: list[Piece]) -> None:
    rows = [row for piece in run for row in piece.rows or ()]
    if len(rows) < 3:
        return
    columns = _columns(rows)
    if not 2 <= len(columns) <= _MOST_COLUMNS:
        return
    texts = [["" for _ in columns] for _ in rows]
    for row, cells in zip(rows, texts, strict=True):
        for cell in row:
            at = [i for i, (x0, x1) in enumerate(columns) if cell.x0 <= x1 and cell.x1 >= x0]
            if len(at) != 1 or cells[at[0]]:
                return
            cells[at[0]] = cell.text
    if sum(bool(text) for cells in texts for text in cells) >= 0.6 * len(rows) * len(columns):
        _replace(page, run, Table(*_around(run), texts))


def _columns(rows: list[list[Cell]]) -> list[tuple[int, int]]:
    columns: list[tuple[int, int]] = []
    for cell in sorted((cell for row in rows for cell in row), key=lambda cell: cell.x0):
        if columns and cell.x0 <= columns[-1][1]:
            columns[-1] = (columns[-1][0], max(columns[-1][1], cell.x1))
        else:
            columns.append((cell.x0, cell.x1))
    return columns


def _replace(page: RawPage, pieces: list[Piece], table: Table) -> None:
    gone = set(map(id, pieces))
    at = next(i for i, piece in enumerate(page.pieces) if id(piece) in gone)
    rest = [piece for piece in page.pieces if id(piece) not in gone]
    first = pieces[0]
    whole = Piece(*_around(pieces), first.size, False, "", max(2, len(table.rows)), None, table)
    page.pieces = [*rest[:at], whole, *rest[at:]]


def _around(pieces: list[Piece]) -> tuple[int, int, int, int]:
    return (
        min(piece.x0 for piece in pieces),
        min(piece.y0 for piece in pieces),
        max(piece.x1 for piece in pieces),
        max(piece.y1 for piece in pieces),
    )


def _holds(table: Table, piece: Piece) -> bool:
    x, y = (piece.x0 + piece.x1) / 2, (piece.y0 + piece.y1) / 2
    return table.x0 <= x <= table.x1 and table.y0 <= y <= table.y1


def _letters_of_table(table: Table) -> Counter[str]:
    return Counter("".join("".join(cell.split()) for row in table.rows for cell in row))


def _letters(pieces: list[Piece]) -> Counter[str]:
    return Counter("".join("".join(piece.text.split()) for piece in pieces))


def as_markdown(rows: list[list[str]]) -> str:
    """Write a table with its first row as header."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines)
