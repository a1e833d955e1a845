"""A document as a row of atoms: the smallest pieces that chunks are made of, each counted once.

An atom is a heading, a sentence (a part of it, where it is too long), or a table (a row of it, where it is too
long). Joined again with their glue, the atoms are the text of the document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from prefect_ollama.blocks.chunk import Region
from prefect_ollama.tasks.chunking.sentences import sentences, short_enough
from prefect_ollama.tasks.parsing.document import Block, ParsedDocument

# How good a place is to begin a chunk.
CHAPTER: Final = 4
HEADING: Final = 3
PARAGRAPH: Final = 2
SENTENCE: Final = 1
INSIDE: Final = 0


@dataclass(slots=True)
class Atom:
    """One atom.

    Attributes:
        text: Without white space at its ends; never empty.
        glue: What stands between the atom before and this one.
        tokens: Its length, counted by itself.
        border: How good it is to begin a chunk with it.
        region: Where the block stands that it belongs to.
        path: Headings above it, itself included if it is one.
        is_heading: Whether it is a heading, which stays with what follows.
        table_head: Header rows to repeat where a chunk begins with this row of a table.
        head_tokens: Length of `table_head`.
    """

    text: str
    glue: str
    tokens: int
    border: int
    region: Region
    path: tuple[str, ...]
    is_heading: bool = False
    table_head: str = ""
    head_tokens: int = 0


def make_atoms(document: ParsedDocument, longest: int, count_tokens: Callable[[str], int]) -> list[Atom]:
    """Divide a document into atoms of at most `longest` tokens.

    A footnote that stands between two parts of a paragraph comes after it.
    """
    found: list[Atom] = []
    path: list[tuple[int, str]] = []
    names: tuple[str, ...] = ()
    for number, block in _in_order(document):
        if block.kind == "heading":
            while path and path[-1][0] >= block.level:
                path.pop()
            path.append((block.level, block.text))
            names = tuple(text for _, text in path)
        region = Region(number, *block.box)
        if block.kind == "table":
            found += _table(block, region, names, longest, count_tokens)
        else:
            found += _prose(block, region, names, longest, count_tokens)
    return found


def _in_order(document: ParsedDocument) -> Iterator[tuple[int, Block]]:
    notes: list[tuple[int, Block]] = []
    for page in document.pages:
        for block in page.blocks:
            if block.kind == "note":
                notes.append((page.number, block))
                continue
            if notes and not block.continues:
                yield from notes
                notes.clear()
            yield page.number, block
    yield from notes


def _prose(
    block: Block, region: Region, names: tuple[str, ...], longest: int, count_tokens: Callable[[str], int]
) -> Iterator[Atom]:
    heading = block.kind == "heading"
    if heading:
        glue, border = "\n\n", CHAPTER if block.level == 1 else HEADING
    elif block.continues:
        glue, border = "" if _wide(block.text[:1]) else " ", SENTENCE
    else:
        glue, border = "\n\n", PARAGRAPH
    for sentence in (block.text,) if heading else sentences(block.text):
        for part, tokens in short_enough(sentence, longest, count_tokens):
            text = part.strip()
            if text:
                yield Atom(text, glue, tokens, border, region, names, heading)
                border = INSIDE
            glue = part[len(part.rstrip()) :] if text else glue + part
        border = SENTENCE


# Chinese, Japanese and Korean signs with their punctuation; Thai and Lao.
_WIDE: Final = (("\u2e80", "\u9fff"), ("\uf900", "\uffef"), ("\u0e00", "\u0eff"))


def _wide(character: str) -> bool:
    """Whether words of its script stand without spaces between them."""
    return any(first <= character <= last for first, last in _WIDE)


def _table(
    block: Block, region: Region, names: tuple[str, ...], longest: int, count_tokens: Callable[[str], int]
) -> Iterator[Atom]:
    tokens = count_tokens(block.text)
    if tokens <= longest:
        yield Atom(block.text, "\n\n", tokens, PARAGRAPH, region, names)
        return
    rows = block.text.split("\n")
    head = "\n".join(rows[:2])
    head_tokens = count_tokens(head)
    if head_tokens * 2 > longest:
        head, head_tokens = "", 0
    # The header stays with the first row of the table, as the header of a section does with its text.
    first = True
    glue = "\n\n"
    for number, row in enumerate(rows):
        for part, tokens in short_enough(row, longest - head_tokens, count_tokens):
            text = part.strip()
            if text:
                repeat = number >= 2
                yield Atom(
                    text,
                    glue,
                    tokens,
                    PARAGRAPH if first else SENTENCE,
                    region,
                    names,
                    is_heading=number < 2,
                    table_head=head if repeat else "",
                    head_tokens=head_tokens if repeat else 0,
                )
                first = False
            glue = part[len(part.rstrip()) :] if text else glue + part
        glue = "\n"
