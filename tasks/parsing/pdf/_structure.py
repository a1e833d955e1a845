"""From the pieces of all pages to blocks: what repeats is dropped, tables and headings are found, lines become
text, and paragraphs that go on after a column or a page are marked so."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prefect_ollama.tasks.parsing.document import Block, Box, Page
from prefect_ollama.tasks.parsing.dropped import Dropped
from prefect_ollama.tasks.parsing.pdf._headings import find_headings
from prefect_ollama.tasks.parsing.pdf._layout import LONE_DOTS, NOTE_SIZE, SCALE, Piece, RawPage, Table
from prefect_ollama.tasks.parsing.pdf._lines import is_right_to_left
from prefect_ollama.tasks.parsing.pdf._paragraph_parts import join_parts_of_paragraphs
from prefect_ollama.tasks.parsing.pdf._reading_order import arrange, merge_lines
from prefect_ollama.tasks.parsing.pdf._running_heads import drop_running_heads
from prefect_ollama.tasks.parsing.pdf._table_header import header_rows
from prefect_ollama.tasks.parsing.pdf._table_parts import join_parts
from prefect_ollama.tasks.parsing.pdf._table_title import table_title
from prefect_ollama.tasks.parsing.pdf._tables import as_markdown, join_tables, tables_of_rows
from prefect_ollama.tasks.parsing.pdf._text_cleanup import TextCleanup, keeps_hyphen

# The sign with which a footnote begins.
_NOTE: Final = re.compile(r"[\d*†‡§¶¹²³⁰-⁹]")
# A paragraph that ends so does not continue on the next page.
_SENTENCE_ENDS: Final = (".", "!", "?", ":", "…", "。", "！", "？", ".”", ".’", ".)", '."', ".»")


def build_pages(
    raw: list[RawPage],
    outline: list[tuple[int, str, int]],
    title: str,
    dropped: Dropped,
    *,
    running_heads: bool = False,
) -> tuple[Page, ...]:
    """Make pages of raw pages.

    Args:
        raw: In order; pages may be missing.
        outline: The file's own table of contents as (level, title, page counted from 1).
    """
    for page in raw:
        dropped.characters["copy"] += page.copied
        dropped.characters["line-number"] += page.numbered
        mirrored = not page.plain and is_right_to_left("".join([piece.text for piece in page.pieces]))
        if mirrored:
            page.mirror()
        arrange(page)
        tables_of_rows(page)
        if mirrored:
            page.mirror()
    merge_lines(raw)
    body_size = _body_size(raw)
    if not running_heads:
        titles = [(title, 0), *((name, page - 1) for _, name, page in outline)]
        drop_running_heads(raw, body_size, titles, dropped)
    # After running heads are gone: one between two parts of a table would keep them apart.
    for page in raw:
        join_parts(page)
    join_parts_of_paragraphs(raw, body_size)
    join_tables(raw, body_size, dropped)
    # Headings come after tables, because cells in bold type are not headings.
    levels = find_headings(raw, body_size, outline)
    blocks_of = [_blocks(page, body_size, levels, dropped.characters) for page in raw]
    _join(blocks_of, dropped.characters)
    return tuple(
        Page(
            page.number + 1,
            page.width,
            page.height,
            (*blocks, *_comments(page, dropped)),
            page.ocr,
            tuple(dict.fromkeys(page.heads)),
            page.label,
        )
        for page, blocks in zip(raw, blocks_of, strict=True)
    )


def _body_size(raw: list[RawPage]) -> int:
    """Return the size that most of the text is set in. Listings are often smaller, and may be longer than it."""
    sizes: Counter[int] = Counter()
    for page in raw:
        for piece in page.pieces:
            sizes[piece.size] += 0 if piece.code else len(piece.text)
    return max(sizes, key=lambda size: (sizes[size], -size)) if sizes else 0


def _blocks(page: RawPage, body_size: int, levels: dict[int, int], dropped: Counter[str]) -> list[Block]:
    found: list[Block] = []
    low = page.height * SCALE / 2
    initial: Block | None = None
    text_cleanup = TextCleanup(dropped, page.plain)
    for piece in page.pieces:
        if piece.table is not None:
            block = _table_block(piece, piece.table, text_cleanup, found)
            if not any(character.isalnum() for character in block.text):
                continue  # Rules and leaders drawn with characters.
        elif piece.code and piece.text.strip(" \n.·…_"):  # Dots alone are leaders.
            block = _code_block(piece, text_cleanup)
            if not block.text.strip():
                continue
        else:
            text, ends = text_cleanup.lines(piece.text)
            if page.vertical:
                ends = ()
            if not text:
                continue
            if LONE_DOTS.fullmatch(text):
                dropped["leader"] += text.count(".")
                continue
            box = _box(piece)
            level = levels.get(id(piece))
            if piece.margin:
                block = Block("margin", text, box, 0, False, ends)
            elif level is not None:
                block = Block("heading", text, box, level)
            elif piece.size < NOTE_SIZE * body_size and piece.y0 > low and _NOTE.match(text):
                block = Block("note", text, box, 0, False, ends)
            elif piece.size < NOTE_SIZE * body_size and found and found[-1].kind == "note" and piece.y0 > low:
                found[-1] = _longer(found[-1], text, box, ends)
                continue
            else:
                block = Block("paragraph", text, box, 0, False, ends)
                if initial is None and len(text) == 1 and piece.size > 1.8 * body_size and text.isalpha():
                    initial = block  # A large first letter belongs to the word after it.
                    continue
        if initial is not None:
            if block.kind == "paragraph":
                block = block._replace(
                    text=initial.text + block.text,
                    box=_around(initial.box, block.box),
                    ends=tuple(end + len(initial.text) for end in block.ends),
                )
            else:
                found.append(initial)
            initial = None
        found.append(block)
    if initial is not None:
        found.append(initial)
    return found


def _comments(page: RawPage, dropped: Dropped) -> Iterator[Block]:
    if not page.comments:
        return
    text_cleanup = TextCleanup(dropped.characters)
    for x0, y0, x1, y1, said in page.comments:
        # The author of a comment set its line breaks, so no word is divided at one.
        if text := text_cleanup.running(" ".join(said.split())):
            yield Block("comment", text, Box(x0, y0, x1, y1))


def _longer(note: Block, text: str, box: Box, ends: tuple[int, ...]) -> Block:
    """Add the lines of a footnote that are set in further than its first."""
    start = len(note.text) + 1
    return note._replace(
        text=f"{note.text} {text}",
        box=_around(note.box, box),
        ends=(*note.ends, start, *(start + end for end in ends)),
    )


def _around(one: Box, other: Box) -> Box:
    return Box(min(one.x0, other.x0), min(one.y0, other.y0), max(one.x1, other.x1), max(one.y1, other.y1))


def _box(piece: Piece) -> Box:
    return Box(piece.x0 / SCALE, piece.y0 / SCALE, piece.x1 / SCALE, piece.y1 / SCALE)


def _table_block(piece: Piece, table: Table, text_cleanup: TextCleanup, above: list[Block]) -> Block:
    rows = text_cleanup.cells(table.rows)
    box = _box(piece)
    markdown = as_markdown(rows, not table.continues)
    if table.continues:
        return Block("table", markdown, box, 0, True)
    return Block("table", markdown, box, header=header_rows(rows), title=table_title(above, box))


def _code_block(piece: Piece, text_cleanup: TextCleanup) -> Block:
    lines = [text_cleanup.exact(line) for line in piece.text.split("\n")]
    return Block("code", "\n".join(lines), _box(piece), ends=_ends(lines))


def _ends(lines: list[str]) -> tuple[int, ...]:
    return tuple(accumulate(len(line) + 1 for line in lines[:-1]))


def _join(blocks_of: list[list[Block]], dropped: Counter[str]) -> None:
    """Mark blocks that continue after a column or a page, and join words that are divided there."""
    before: tuple[list[Block], int] | None = None
    for blocks in blocks_of:
        for i, block in enumerate(blocks):
            if block.kind in ("note", "margin"):
                continue
            if before is not None and block.kind == "paragraph" and _starts_column(blocks, i):
                at, k = before
                first, second = _connected(at[k], block, dropped)
                at[k], blocks[i] = first, second
            before = (blocks, i) if block.kind == "paragraph" else None


def _starts_column(blocks: list[Block], i: int) -> bool:
    """Return whether a block is the first of its page, running heads apart, or stands higher than the one before it."""
    above = i - 1
    while above >= 0 and blocks[above].kind == "margin":
        above -= 1
    return above < 0 or blocks[i].box.y0 < blocks[above].box.y0


def _connected(first: Block, second: Block, dropped: Counter[str]) -> tuple[Block, Block]:
    one, two = first.text, second.text
    if one.endswith(_SENTENCE_ENDS) or not (two[:1].islower() or _same_script_without_case(one, two)):
        return first, second
    if one[-1:] in "-‐" and one[-2:-1].isalpha() and two[:1].islower():
        word, _, rest = two.partition(" ")
        if rest:
            kept = keeps_hyphen(one[:-1])
            dropped["hyphen"] += not kept
            moved = len(two) - len(rest)
            ends = tuple(end - moved for end in second.ends if end > moved)
            return first._replace(text=(one if kept else one[:-1]) + word), second._replace(
                text=rest, continues=True, ends=ends
            )
    return first, second._replace(continues=True)


def _same_script_without_case(one: str, two: str) -> bool:
    a, b = one[-1:], two[:1]
    return a.isalpha() and b.isalpha() and a.upper() == a.lower() and b.upper() == b.lower()
