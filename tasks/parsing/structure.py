"""From the pieces of all pages to blocks: what repeats is dropped, headings get their level, lines become text."""

from __future__ import annotations

from collections import Counter

from prefect_ollama.tasks.parsing.document import Block, Box, Page
from prefect_ollama.tasks.parsing.lines import SCALE, Piece, RawPage
from prefect_ollama.tasks.parsing.prose import join_lines


def build_pages(
    raw: list[RawPage], outline: list[tuple[int, str, int]]
) -> tuple[tuple[Page, ...], dict[str, int]]:
    """Make pages of raw pages.

    Args:
        raw: In order; pages may be missing.
        outline: The file's own table of contents as (level, title, page counted from 1).

    Returns:
        The pages, and the characters dropped by each rule.
    """
    dropped: Counter[str] = Counter()
    body = _body_size(raw)
    pages = []
    for page in raw:
        blocks = []
        for piece in page.pieces:
            text = join_lines(piece.lines, dropped)
            if not text:
                continue
            box = Box(piece.x0 / SCALE, piece.y0 / SCALE, piece.x1 / SCALE, piece.y1 / SCALE)
            if _is_heading(piece, body):
                blocks.append(Block("heading", text, box, level=1))
            else:
                blocks.append(Block("paragraph", text, box))
        pages.append(Page(page.number + 1, page.width, page.height, tuple(blocks), page.ocr))
    return tuple(pages), dict(dropped)


def _body_size(raw: list[RawPage]) -> int:
    sizes: Counter[int] = Counter()
    for page in raw:
        for piece in page.pieces:
            sizes[piece.size] += piece.characters
    return sizes.most_common(1)[0][0] if sizes else 0


def _is_heading(piece: Piece, body: int) -> bool:
    return piece.size > 1.12 * body and len(piece.lines) <= 3 and piece.characters < 200
