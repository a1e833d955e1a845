"""A document as a row of atoms: the smallest pieces that chunks are made of, each counted once.

An atom is a heading, a sentence (a part of it, where it is too long), or a table (a row of it, where it is too
long). Joined again with their glue, the atoms are the text of the document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from prefect_ollama.blocks.chunk import Region
from prefect_ollama.tasks.chunking.sentences import sentences, short_enough
from prefect_ollama.tasks.parsing.document import Block, ParsedDocument

# How good a place is to begin a chunk.
CHAPTER: Final = 4
HEADING: Final = 3
PARAGRAPH: Final = 2
SENTENCE: Final = 1
INSIDE: Final = 0

# A heading is repeated in every chunk of its section if it takes no more than this of it.
_CONTEXT_SHARE: Final = 0.15


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
        context: What a chunk that begins with this atom repeats before it: the heading of its section, or the
            header of its table, with the line breaks after it.
        context_tokens: Length of `context`.
        is_row: Whether it is a row of a table that had to be cut.
    """

    text: str
    glue: str
    tokens: int
    border: int
    region: Region
    path: tuple[str, ...]
    is_heading: bool = False
    context: str = ""
    context_tokens: int = 0
    is_row: bool = False


def make_atoms(document: ParsedDocument, longest: int, count_tokens: Callable[[str], int]) -> list[Atom]:
    """Divide a document into atoms of at most `longest` tokens.

    A footnote that stands between two parts of a paragraph comes after it.
    """
    found: list[Atom] = []
    path: list[tuple[int, str]] = []
    section = _Section((), "", 0)
    for number, block in _in_order(document):
        region = Region(number, *block.box)
        if block.kind == "heading":
            while path and path[-1][0] >= block.level:
                path.pop()
            path.append((block.level, block.text))
            section = _Section(tuple(text for _, text in path), "", 0)
            parts = list(_prose(block, region, section, longest, count_tokens))
            # A heading that takes up much of a chunk is not worth repeating.
            if len(parts) == 1 and parts[0].tokens <= _CONTEXT_SHARE * longest:
                section = _Section(section.path, f"{block.text}\n\n", parts[0].tokens)
            found += parts
        elif block.kind == "table":
            found += _table(block, region, section, longest, count_tokens)
        else:
            found += _prose(block, region, section, longest, count_tokens)
    return found


class _Section(NamedTuple):
    path: tuple[str, ...]
    context: str
    tokens: int


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
    block: Block, region: Region, section: _Section, longest: int, count_tokens: Callable[[str], int]
) -> Iterator[Atom]:
    heading = block.kind == "heading"
    if heading:
        glue, border = "\n\n", CHAPTER if block.level == 1 else HEADING
    elif block.continues:
        glue, border = "" if _wide(block.text[:1]) else " ", SENTENCE
    else:
        glue, border = "\n\n", PARAGRAPH
    for sentence in (block.text,) if heading else sentences(block.text):
        for part, tokens in short_enough(sentence, longest - section.tokens, count_tokens):
            text = part.strip()
            if text:
                yield Atom(
                    text, glue, tokens, border, region, section.path, heading, section.context, section.tokens
                )
                border = INSIDE
            glue = part[len(part.rstrip()) :] if text else glue + part
        border = SENTENCE


# Chinese, Japanese and Korean signs with their punctuation; Thai and Lao.
_WIDE: Final = (("\u2e80", "\u9fff"), ("\uf900", "\uffef"), ("\u0e00", "\u0eff"))


def _wide(character: str) -> bool:
    """Whether words of its script stand without spaces between them."""
    return any(first <= character <= last for first, last in _WIDE)


def _table(
    block: Block, region: Region, section: _Section, longest: int, count_tokens: Callable[[str], int]
) -> Iterator[Atom]:
    tokens = count_tokens(block.text)
    if tokens <= longest - section.tokens:
        yield Atom(
            block.text,
            "\n\n",
            tokens,
            PARAGRAPH,
            region,
            section.path,
            False,
            section.context,
            section.tokens,
        )
        return
    rows = block.text.split("\n")
    head = "\n".join(rows[:2]) + "\n"
    head_tokens = count_tokens(head)
    if head_tokens * 2 > longest:
        head, head_tokens = "", 0
    glue, border = "\n\n", PARAGRAPH
    for number, row in enumerate(rows):
        for part, tokens in short_enough(row, longest - max(head_tokens, section.tokens), count_tokens):
            text = part.strip()
            if text:
                repeats = number >= 2
                yield Atom(
                    text,
                    glue,
                    tokens,
                    border,
                    region,
                    section.path,
                    # The header stays with the first row, as that of a section does with its text.
                    is_heading=not repeats,
                    context=head if repeats else section.context,
                    context_tokens=head_tokens if repeats else section.tokens,
                    is_row=True,
                )
                border = SENTENCE
            glue = part[len(part.rstrip()) :] if text else glue + part
        glue = "\n"
