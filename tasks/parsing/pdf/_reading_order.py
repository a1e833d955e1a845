"""The reading order of the pieces of a page, and lines that make one paragraph.

Most files have their text in this order already, and then nothing is moved. A page is only analysed if its pieces go
back up without going into a column to the right, or if pieces are side by side in several rows.
"""

from collections import Counter, defaultdict
from itertools import pairwise
from operator import attrgetter, le
from typing import Final

from prefect_ollama.tasks.parsing.pdf._layout import SCALE, Cell, Piece, RawPage, around

_y0, _y1, _x0, _lines = attrgetter("y0"), attrgetter("y1"), attrgetter("x0"), attrgetter("lines")
# Smallest width of a column, as a part of the width of the page's content.
_COLUMN: Final = 0.15
# A page is divided into columns and parts at most this often, one within the other. A hostile page could nest for
# ever.
_DEEPEST: Final = 12
# Rows of pieces side by side from which on they are read row by row.
_ROWS: Final = 3


def arrange(page: RawPage) -> None:
    """Put the pieces of a page in reading order, in place, and rows of single lines side by side into one piece."""
    pieces = page.pieces
    if len(pieces) < 2 or page.vertical:
        return
    height = int(page.height * SCALE)
    _heads_first(pieces, height)
    tops = list(map(_y0, pieces))
    if all(map(le, map(_y1, pieces), [top + 30 for top in tops[1:]])):
        return  # the blocks stand one below the other, as on most pages
    rows = _rows(pieces)
    if rows:
        pieces[:] = rows
    if not _in_order(pieces):
        pieces[:] = _by_columns(pieces, 0)
    # Not before, because feet that the file has first show that its order is not that of reading.
    _feet_last(pieces, height)


def _feet_last(pieces: list[Piece], height: int) -> None:
    """Move a running foot after the text, if the file has it before the text."""
    bottom = height - height // 8
    is_text = (piece.lines > 1 or piece.y0 <= bottom for piece in pieces)
    start = next((i for i, found in enumerate(is_text) if found), 0)
    pieces[:] = pieces[start:] + pieces[:start]


def _heads_first(pieces: list[Piece], height: int) -> None:
    """Move a running head before the text, if the file has it after the text. A foot stays."""
    top, bottom = height // 8, height - height // 8
    end = len(pieces)
    while end and pieces[end - 1].lines == 1 and (pieces[end - 1].y1 < top or pieces[end - 1].y0 > bottom):
        end -= 1
    if end:
        margins = pieces[end:]
        heads = [piece for piece in margins if piece.y1 < top]
        pieces[:] = heads + pieces[:end] + [piece for piece in margins if piece.y1 >= top]


def _rows(pieces: list[Piece]) -> list[Piece] | None:
    """Join single lines that stand on one height in several rows, as in a form; None if there are too few.

    The lines of a row begin where those of other rows do: a heading that happens to stand beside a line of the
    next column is none.
    """
    single = sorted((piece for piece in pieces if piece.lines == 1), key=_y0)
    rows: list[list[Piece]] = []
    for piece in single:
        if rows and piece.y0 - rows[-1][0].y0 < 0.4 * piece.size:
            rows[-1].append(piece)
        else:
            rows.append([piece])
    rows = [sorted(row, key=_x0) for row in rows if len(row) > 1]
    rows = [row for row in rows if all(b.x0 - a.x1 >= a.size for a, b in pairwise(row))]
    starts = Counter(round(row[1].x0 / row[1].size) for row in rows)
    rows = [row for row in rows if _near(starts, round(row[1].x0 / row[1].size)) >= _ROWS]
    if not rows:
        return None
    joined = {id(row[0]): _joined(row) for row in rows}
    gone = {id(piece) for row in rows for piece in row[1:]}
    return [joined.get(id(piece), piece) for piece in pieces if id(piece) not in gone]


def _near(starts: Counter[int], start: int) -> int:
    return starts[start - 1] + starts[start] + starts[start + 1]


def _joined(row: list[Piece]) -> Piece:
    first, text = row[0], " ".join(piece.text for piece in row)
    cells = [cell for piece in row for cell in _cells(piece)]
    return Piece(*around(row), first.size, first.bold, text, 1, [cells])


def _cells(piece: Piece) -> list[Cell]:
    return piece.rows[0] if piece.rows else [Cell(piece.x0, piece.x1, piece.text)]


def _in_order(pieces: list[Piece]) -> bool:
    """Return whether the order of the file can be one of columns: up only to the right, and never row by row."""
    beside = 0
    for before, piece in pairwise(pieces):
        slack = min(before.size, piece.size)
        if piece.y1 <= before.y0 + slack:  # Up.
            if piece.x0 < before.x1 - slack and not _below_all(before, piece):
                return False
        elif piece.y0 < before.y1 - slack and (piece.x0 >= before.x1 or piece.x1 <= before.x0):
            beside += 1
    return beside < _ROWS


def _below_all(before: Piece, piece: Piece) -> bool:
    """Return whether a step up is in reading order, such as from a foot across all columns to the head of a page."""
    return before.lines <= 2 and before.size < piece.size


def _by_columns(pieces: list[Piece], depth: int) -> list[Piece]:
    if len(pieces) < 2:
        return pieces
    if depth < _DEEPEST:
        columns = _columns(pieces)
        if columns:
            return [piece for column in columns for piece in _by_columns(column, depth + 1)]
        bands = _bands(pieces)
        if len(bands) > 1:
            return [piece for band in bands for piece in _by_columns(band, depth + 1)]
    return _row_by_row(pieces)


def _columns(pieces: list[Piece]) -> list[list[Piece]] | None:
    """Divide where a strip from top to bottom is empty, with lines of text on both sides of it."""
    left = min(piece.x0 for piece in pieces)
    right = max(piece.x1 for piece in pieces)
    widest = (right - left) * _COLUMN
    columns: list[list[Piece]] = []
    reach = -1
    gap = min(piece.size for piece in pieces)
    for piece in sorted(pieces, key=_x0):
        if not columns or piece.x0 > reach + 0.5 * gap:
            columns.append([])
        columns[-1].append(piece)
        reach = max(reach, piece.x1)
    if len(columns) < 2:
        return None
    for column in columns:
        width = max(piece.x1 for piece in column) - min(piece.x0 for piece in column)
        if width < widest or sum(map(_lines, column)) < 2:
            return None
        column.sort(key=_y0)
    return columns


def _bands(pieces: list[Piece]) -> list[list[Piece]]:
    """Divide where a strip from left to right is empty; bands that share their columns stay together."""
    rows: list[list[Piece]] = []
    reach = -1
    for piece in sorted(pieces, key=_y0):
        if not rows or piece.y0 >= reach - 0.3 * piece.size:
            rows.append([])
        rows[-1].append(piece)
        reach = max(reach, piece.y1)
    bands = [rows[0]]
    for row in rows[1:]:
        together = bands[-1] + row
        if (len(bands[-1]) > 1 or len(row) > 1) and _columns(together):
            bands[-1] = together
        else:
            bands.append(row)
    return bands


def _row_by_row(pieces: list[Piece]) -> list[Piece]:
    """Line by line, each from left to right."""
    found: list[Piece] = []
    row: list[Piece] = []
    for piece in sorted(pieces, key=_y0):
        if row and piece.y0 > (row[0].y0 + row[0].y1) // 2:
            found += sorted(row, key=_x0)
            row = []
        row.append(piece)
    return found + sorted(row, key=_x0)


def merge_lines(pages: list[RawPage]) -> None:
    """Join single lines into paragraphs, in place, where a document is set with wide spaces between its lines.

    MuPDF makes a block of each such line.
    """
    all_pieces = Counter([piece.size for page in pages for piece in page.pieces])
    single = Counter(
        [piece.size for page in pages for piece in page.pieces if piece.lines == 1 and not piece.rows]
    )
    mostly_single = {size for size, count in single.items() if 2 * count > all_pieces[size] and count > 5}
    if not mostly_single:
        return
    steps: defaultdict[int, Counter[int]] = defaultdict(Counter)
    widest: Counter[int] = Counter()
    for page in pages:
        before = None
        for piece in page.pieces:
            size = piece.size
            if size not in mostly_single or piece.lines > 1 or piece.rows:
                before = None
                continue
            widest[size] = max(widest[size], piece.x1 - piece.x0)
            if before is not None and before.size == size and 0 < piece.y0 - before.y0 < 4 * size:
                steps[size][(piece.y0 - before.y0) // 4] += 1
            before = piece
    spaced = {}
    for size, counted in steps.items():
        step, times = counted.most_common(1)[0]
        if times >= 5:
            spaced[size] = step
    if spaced:
        for page in pages:
            page.pieces = _merged(page.pieces, spaced, widest)


def _merged(pieces: list[Piece], spaced: dict[int, int], widest: Counter[int]) -> list[Piece]:
    merged: list[Piece] = []
    full = False
    for piece in pieces:
        last = merged[-1] if merged else None
        size = piece.size
        if (
            full
            and last is not None
            and last.table is None
            and size in spaced
            and piece.lines == 1
            and not piece.rows
            and size == last.size
            and piece.bold == last.bold
            and abs((piece.y1 - last.y1) // 4 - spaced[size]) <= 2
            and piece.x0 < last.x1
            and piece.x1 > last.x0
        ):
            last.text = f"{last.text}\n{piece.text}"
            last.lines += 1
            last.x0, last.x1, last.y1 = min(last.x0, piece.x0), max(last.x1, piece.x1), piece.y1
        else:
            merged.append(piece)
        full = piece.lines == 1 and not piece.rows and piece.x1 - piece.x0 > widest[size] - 2.5 * size
    return merged
