"""From the blocks of one page to pieces: lines of one type that make one paragraph.

This runs over every line of every page, so blocks that are plain prose are recognised by a few C-speed calls,
and read line by line only if they show signs of structure: indents, bullets, another type, cells side by side.
"""

from collections.abc import Iterable, Iterator, Mapping

from prefect_ollama.tasks.parsing.pdf._layout import SCALE, Cell, Piece, RawPage
from prefect_ollama.tasks.parsing.pdf._lines import Lines
from prefect_ollama.tasks.parsing.pdf._paragraph_breaks import BULLETS, borders
from prefect_ollama.tasks.parsing.pdf._stext import TURNED, VERTICAL, Line, TextBlock, is_even


def read_page(
    number: int,
    width: float,
    height: float,
    blocks: Iterable[TextBlock | Piece],
    known: Mapping[int, Lines],
    ocr: bool = False,
) -> RawPage:
    """Make pieces of the blocks of one page, and of the tables that stand among them.

    Args:
        number: Counted from 0.
        width, height: In points.
        blocks: In the order of the file.
        known: The result of `lines_of` for blocks that may be among these.
    """
    page = RawPage(number, width, height, ocr=ocr)
    pieces = page.pieces
    for block in blocks:
        if isinstance(block, Piece):
            pieces.append(block)
            continue
        x0, y0, x1, y1, lines, texts, even = block
        _, _, _, _, _, size, bold, vertical, _ = lines[0]
        if len(lines) == 1:
            text = texts[0]
        else:
            if vertical:
                page.vertical |= vertical == VERTICAL
            elif not even or not BULLETS.isdisjoint([text[:1] for text in texts]):
                pieces += _divided(known.get(id(block)) or Lines(lines, texts))
                continue
            text = "\n".join(texts)
        piece = _scaled((x0, y0, x1, y1), size, bold, text, len(lines))
        piece.turned = vertical == TURNED
        pieces.append(piece)
    return page


def of_one_size(blocks: list[TextBlock]) -> list[TextBlock]:
    """Give lines of nearly one size the same size, because OCR measures every line by itself."""
    sizes = sorted(line[5] for block in blocks for line in block.lines)
    if not sizes:
        return blocks
    middle = sizes[len(sizes) // 2]
    found = []
    for block in blocks:
        lines: list[Line] = [
            (*line[:5], middle if 0.7 * middle < line[5] < 1.35 * middle else line[5], 0, *line[7:])
            for line in block.lines
        ]
        found.append(block._replace(lines=lines, even=is_even(lines, block.x0)))
    return found


def _divided(lines: Lines) -> Iterator[Piece]:
    """Divide a block where the type changes, where a paragraph begins, and where rows of cells begin or end."""
    start = 0
    for i in [*borders(lines), len(lines.text)]:
        if lines.are_columns(start, i):
            yield from (_column(lines, start, i, place) for place in (0, 1))
        else:
            yield _piece(lines, start, i)
        start = i


def _column(lines: Lines, start: int, end: int, place: int) -> Piece:
    x0, x1, texts = zip(*(lines.cells[i][place] for i in range(start, end)), strict=True)
    y0, y1 = min(lines.y0[start:end]), max(lines.y1[start:end])
    size, bold = lines.size[start], lines.bold[start]
    return _scaled((min(x0), y0, max(x1), y1), size, bold, "\n".join(texts), end - start)


def _piece(lines: Lines, start: int, end: int) -> Piece:
    rows = None
    if start in lines.cells:
        rows = [
            [Cell(int(SCALE * x0), int(SCALE * x1), text) for x0, x1, text in lines.cells[i]]
            for i in range(start, end)
        ]
    x0, y0 = min(lines.x0[start:end]), min(lines.y0[start:end])
    x1, y1 = max(lines.x1[start:end]), max(lines.y1[start:end])
    text = "\n".join(lines.text[start:end])
    return _scaled((x0, y0, x1, y1), lines.size[start], lines.bold[start], text, end - start, rows)


def _scaled(
    box: tuple[float, float, float, float],
    size: float,
    bold: int,
    text: str,
    lines: int,
    rows: list[list[Cell]] | None = None,
) -> Piece:
    x0, y0, x1, y1 = box
    return Piece(
        int(SCALE * x0),
        int(SCALE * y0),
        int(SCALE * x1),
        int(SCALE * y1),
        int(SCALE * size) or 1,
        bold > 0,
        text,
        lines,
        rows,
    )
