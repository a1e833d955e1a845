"""Divide a document into atoms: the smallest pieces of chunks, whose tokens are counted once.

An atom is a heading, a sentence (or a part of one that is too long), or a table (or a row of one that is too long).
Joined with their glue, the atoms are the text of the document.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from prefect_ollama.blocks.documents import Region
from prefect_ollama.tasks.chunking._compact_tables import CompactTable, compact
from prefect_ollama.tasks.chunking._sentences import sentences, short_enough
from prefect_ollama.tasks.parsing import Block, ParsedDocument, split_between

# The kinds of borders between atoms, from the best to the worst place to begin a chunk.
CHAPTER: Final = 4
HEADING: Final = 3
PARAGRAPH: Final = 2
SENTENCE: Final = 1
INSIDE: Final = 0

# A heading is repeated in every chunk of its section if it takes at most this part of a chunk.
_CONTEXT_SHARE: Final = 0.15


@dataclass(slots=True)
class Atom:
    """One atom.

    Attributes:
        text: Its text without white space at the ends; never empty.
        glue: The text between the atom before and this one.
        regions: Its place: the lines of its block that it covers, or the whole of a table.
        path: Headings above it, itself included if it is one.
        context: What a chunk that begins with this atom repeats before it: the heading of its section, or the
            header of its table, with the line breaks after it.
        is_heading: Whether it is a heading, which stays with what follows.
        is_row: Whether it is a row of a table that had to be cut.
        embedded: What is embedded in place of its text, None if that is the text: tables are written compactly.
        numbers: The same with the numbers of the row, None if there are none.
        table: Title and units of the table that it is, or is a row of.
    """

    text: str
    glue: str
    tokens: int
    border: int
    regions: tuple[Region, ...]
    path: tuple[str, ...]
    context: str = ""
    context_tokens: int = 0
    is_heading: bool = False
    is_row: bool = False
    embedded: str | None = None
    numbers: str | None = None
    table: str = ""


def make_atoms(document: ParsedDocument, longest: int, count_tokens: Callable[[str], int]) -> list[Atom]:
    """Divide a document into atoms of at most `longest` tokens.

    A footnote or a running head between two parts of a paragraph comes after the paragraph.
    """
    found: list[Atom] = []
    path: list[tuple[int, str]] = []
    section = _Section((), "", 0)
    for blocks in _tables_whole(_in_order(document)):
        number, block = blocks[0]
        if block.kind == "heading":
            while path and path[-1][0] >= block.level:
                path.pop()
            path.append((block.level, block.text))
            section = _Section(tuple(text for _, text in path), "", 0)
            parts = list(_prose(number, block, section, longest, count_tokens))
            # A long heading is not repeated, because it would take too much of each chunk.
            if len(parts) == 1 and parts[0].tokens <= _CONTEXT_SHARE * longest:
                section = _Section(section.path, f"{block.text}\n\n", parts[0].tokens)
            found += parts
        elif block.kind == "table":
            found += _table(blocks, section, longest, count_tokens)
        else:
            found += _prose(number, block, section, longest, count_tokens)
    return found


class _Section(NamedTuple):
    path: tuple[str, ...]
    context: str
    tokens: int


def _in_order(document: ParsedDocument) -> Iterator[tuple[int, Block]]:
    notes: list[tuple[int, Block]] = []
    for page in document.pages:
        for block in page.blocks:
            if block.kind in ("note", "margin"):
                notes.append((page.number, block))
                continue
            # A note at the foot of a page would divide a paragraph that continues on the next page.
            if notes and not block.continues:
                yield from notes
                notes.clear()
            yield page.number, block
    yield from notes


def _tables_whole(blocks: Iterator[tuple[int, Block]]) -> Iterator[list[tuple[int, Block]]]:
    """Join the parts of a table that continues over pages. Every other block stays alone."""
    return split_between(
        blocks, lambda before, each: not (before[1].kind == each[1].kind == "table" and each[1].continues)
    )


def _prose(
    number: int, block: Block, section: _Section, longest: int, count_tokens: Callable[[str], int]
) -> Iterator[Atom]:
    heading = block.kind == "heading"
    if heading:
        glue, border = "\n\n", CHAPTER if block.level == 1 else HEADING
    elif block.continues:
        glue, border = "" if _wide(block.text[:1]) else " ", SENTENCE
    else:
        glue, border = "\n\n", PARAGRAPH
    end = 0
    for sentence in (block.text,) if heading or block.kind == "code" else sentences(block.text):
        for part, tokens in short_enough(sentence, longest - section.tokens, count_tokens):
            start, end = end, end + len(part)
            text = part.strip()
            if text:
                regions = (_lines(number, block, start, start + len(part.rstrip())),)
                # Before a line of code are the spaces that set it in.
                glue += part[: len(part) - len(part.lstrip())]
                yield Atom(text, glue, tokens, border, regions, *section, is_heading=heading)
                border = INSIDE
            glue = part[len(part.rstrip()) :] if text else glue + part
        border = SENTENCE


def _lines(number: int, block: Block, start: int, end: int) -> Region:
    """Return the lines of a block that a part of its text covers."""
    box = block.box
    if not block.ends:
        return Region(number, *box)
    first, last = bisect_right(block.ends, start), bisect_left(block.ends, end)
    height = (box.y1 - box.y0) / (len(block.ends) + 1)
    return Region(number, box.x0, box.y0 + first * height, box.x1, box.y0 + (last + 1) * height)


# Chinese, Japanese and Korean signs with their punctuation; Thai and Lao.
_WIDE: Final = (("\u2e80", "\u9fff"), ("\uf900", "\uffef"), ("\u0e00", "\u0eff"))


def _wide(character: str) -> bool:
    """Return whether its script has no spaces between words."""
    return any(first <= character <= last for first, last in _WIDE)


def _table(
    parts: list[tuple[int, Block]], section: _Section, longest: int, count_tokens: Callable[[str], int]
) -> Iterator[Atom]:
    whole = "\n".join(block.text for _, block in parts)
    lines = whole.split("\n")
    title, title_rows = parts[0][1].title, parts[0][1].header
    header = lines[: title_rows + 1] if title_rows else []
    rows = lines[len(header) :]
    tokens = count_tokens(whole)
    if tokens <= longest - section.tokens:
        regions = tuple(Region(number, *block.box) for number, block in parts)
        embedded = compact(header, rows)
        yield Atom(whole, "\n\n", tokens, PARAGRAPH, regions, *section, embedded=embedded, table=title)
        return
    # The header, with the rule that Markdown has below its first row.
    count = 2 if title_rows == 0 else title_rows + 1
    head = "\n".join(lines[:count]) + "\n"
    head_tokens = count_tokens(head)
    if head_tokens * 2 > longest:
        head, head_tokens = "", 0
    below_header = _Section(section.path, head, head_tokens)
    glue, border = "\n\n", PARAGRAPH
    table = CompactTable.of(header)
    said = " ".join(part for part in (title, table.heading) if part)
    for k, (row, region, repeats) in enumerate(_rows(parts, count)):
        for part, tokens in short_enough(row, longest - max(head_tokens, section.tokens), count_tokens):
            text = part.strip()
            if text:
                yield Atom(
                    text,
                    glue,
                    tokens,
                    border,
                    (region,),
                    *(below_header if repeats else section),
                    # The header stays with the first row, as that of a section does with its text.
                    is_heading=not repeats,
                    is_row=True,
                    embedded=_as_line(table, k, len(header), row, text),
                    numbers=table.row(text) if k >= len(header) and text == row.strip() else None,
                    table=said,
                )
                border = SENTENCE
            glue = part[len(part.rstrip()) :] if text else glue + part
        glue = "\n"


def _as_line(table: CompactTable, number: int, header: int, row: str, text: str) -> str | None:
    """Return the embedded line of a row, or of a part of one; the header holds once what rows do not repeat."""
    if text != row.strip():
        return None
    if number < header:
        return table.heading if number == 0 else ""
    return table.row(text, numbers=False)


def _rows(parts: list[tuple[int, Block]], header: int) -> Iterator[tuple[str, Region, bool]]:
    """Return the rows of a table, each with where it stands, and whether the header is repeated before it."""
    for i, (number, block) in enumerate(parts):
        rows = block.text.split("\n")
        # The line below the header takes no room on the page.
        shown = [0, 0, *range(1, len(rows) - 1)] if i == 0 else list(range(len(rows)))
        box = block.box
        height = (box.y1 - box.y0) / max(1, shown[-1] + 1)
        for k, (row, place) in enumerate(zip(rows, shown, strict=True)):
            top = box.y0 + place * height
            yield row, Region(number, box.x0, top, box.x1, top + height), i > 0 or k >= header
