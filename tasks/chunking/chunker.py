"""Chunk documents by their structure: whole sections, paragraphs and sentences, of about the target length."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from prefect_ollama.blocks.documents import Chunk, Region
from prefect_ollama.tasks.chunking._atoms import INSIDE, PARAGRAPH, Atom, make_atoms
from prefect_ollama.tasks.chunking._compact_tables import with_numbers
from prefect_ollama.tasks.chunking._context import Context, document_name, without_running_heads
from prefect_ollama.tasks.chunking._sentences import halves
from prefect_ollama.tasks.chunking._spans import chapters, spans
from prefect_ollama.tasks.chunking.options import ChunkOptions
from prefect_ollama.tasks.chunking.tokens import estimate_tokens
from prefect_ollama.tasks.parsing import ParsedDocument

# Changes whenever the same document and options would give other chunks.
CHUNKER_VERSION: Final = 5


def chunk_document(
    document: ParsedDocument,
    options: ChunkOptions | None = None,
    count_tokens: Callable[[str], int] = estimate_tokens,
    *,
    name: str = "",
) -> list[Chunk]:
    """Divide a document into chunks.

    Args:
        document: The parsed document.
        options: Sizes in tokens.
        count_tokens: Returns the length of a text in the model's tokens. The function is called once for each sentence,
            and once more for a chunk near the limit.
        name: Name of the document's file, for its context.
    """
    options = options or ChunkOptions()
    longest = options.max_tokens - options.overlap_tokens
    if options.context_tokens:
        document = without_running_heads(document)
    write = _Embedded(document, options, count_tokens, name)
    chunks: list[Chunk] = []
    for chapter in chapters(make_atoms(document, longest, count_tokens), options.min_tokens):
        for start, end in spans(chapter, options, longest):
            for overlap in (options.overlap_tokens, 0):
                chunk = _counted(_chunk(chapter, start, end, overlap), options.max_tokens, count_tokens)
                if chunk.tokens <= options.max_tokens:
                    break
            parts = list(_fitting(chunk, options.max_tokens, count_tokens))
            own = chapter[start:end] if len(parts) == 1 else []
            chunks += [write(part, own, chapter[start]) for part in parts if _has_letter_or_digit(part.text)]
    return renumbered(chunks)


class _Embedded:
    """Gives each chunk the text that is embedded."""

    def __init__(
        self, document: ParsedDocument, options: ChunkOptions, count_tokens: Callable[[str], int], name: str
    ) -> None:
        self._options = options
        self._count = count_tokens
        self._pages = {page.number: page for page in document.pages}
        called = document_name(document.metadata.title, name)
        self._context = Context(called, options.context_tokens, count_tokens)

    def __call__(self, chunk: Chunk, atoms: list[Atom], first: Atom) -> Chunk:
        """Set the embedded text of a chunk, if it differs from the chunk's text.

        `atoms` are its atoms without the overlap; none where they are not known. It begins with `first`.
        """
        one, last = self._pages[chunk.page_from], self._pages[chunk.page_to]
        if one.label or last.label:
            chunk = replace(chunk, page_label_from=one.label, page_label_to=last.label)
        if not self._options.context_tokens:
            return chunk
        text = _compact(chunk.text, atoms)
        before = self._context.before(text, heads=one.heads, path=first.path, table=first.table)
        embedded = f"{before}\n\n{text}" if before else text
        if text != chunk.text:
            most = self._options.max_tokens + self._options.context_tokens
            if self._count(embedded) > most:
                embedded = f"{before}\n\n{chunk.text}" if before else chunk.text
        return chunk if embedded == chunk.text else replace(chunk, embedded_text=embedded)


def _compact(text: str, atoms: list[Atom]) -> str:
    """Return the text of a chunk with its tables as lines."""
    if all(atom.embedded is None for atom in atoms):
        return text
    rows = [
        (atom.embedded if atom.numbers is None else atom.numbers, atom.embedded)
        for atom in atoms
        if atom.embedded is not None
    ]
    lines = with_numbers(rows)
    for atom in atoms:
        if atom.embedded is None:
            continue
        if atom.is_row and atom.context:
            text = text.replace(atom.context, "", 1)
        text = text.replace(atom.text, next(lines), 1)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _has_letter_or_digit(text: str) -> bool:
    """Return whether a text has a letter or a digit. A chunk of signs only would be found by chance."""
    return any(map(str.isalnum, text))


def split_chunk(chunk: Chunk) -> list[Chunk]:
    """Divide a chunk that is too long for a node into two, at the best border near its middle, without losing text.

    Both parts keep the position of the chunk; `renumbered` gives a list of chunks new positions. The context that is
    embedded before the text is before both parts.
    """
    if len(chunk.text) < 2:
        return [chunk]
    found = [part.strip() for part in halves(chunk.text)]
    share = chunk.tokens / max(1, len(chunk.text))
    before = chunk.embedded_text.removesuffix(chunk.text) if chunk.embedded_text.endswith(chunk.text) else ""
    return [
        replace(
            chunk,
            text=part,
            tokens=round(share * len(part)) + 1,
            embedded_text=f"{before}{part}" if before else "",
        )
        for part in found
        if part
    ]


def renumbered(chunks: list[Chunk]) -> list[Chunk]:
    """Give chunks the positions 0, 1, 2, … in their order."""
    return [chunk if chunk.position == i else replace(chunk, position=i) for i, chunk in enumerate(chunks)]


def _chunk(atoms: list[Atom], start: int, end: int, overlap_tokens: int) -> Chunk:
    first = _overlap(atoms, start, overlap_tokens)
    taken = atoms[first:end]
    # The glue of the first atom stands before the chunk.
    text = taken[0].text + "".join(atom.glue + atom.text for atom in taken[1:])
    tokens = sum(atom.tokens for atom in taken)
    own = atoms[start]
    if not own.is_heading:
        text = own.context + text
        tokens += own.context_tokens
    return Chunk(
        text=text,
        position=-1,
        page_from=min(region.page for atom in taken for region in atom.regions),
        page_to=max(region.page for atom in taken for region in atom.regions),
        heading=" > ".join(own.path),
        regions=_regions(taken),
        tokens=tokens,
    )


def _overlap(atoms: list[Atom], start: int, overlap_tokens: int) -> int:
    """Return the first atom of a chunk with its overlap: some whole sentences before it, of the same section."""
    first, tokens = start, 0
    while (
        first > 0
        and atoms[first].border <= PARAGRAPH
        and atoms[first - 1].path == atoms[start].path
        and not atoms[first - 1].is_heading
        and not atoms[first - 1].is_row
        and tokens + atoms[first - 1].tokens <= overlap_tokens
    ):
        first -= 1
        tokens += atoms[first].tokens
    while first < start and atoms[first].border == INSIDE:
        first += 1
    return first


def _regions(atoms: list[Atom]) -> tuple[Region, ...]:
    """Return one rectangle for each run of lines or blocks that are one below the other."""
    found: list[Region] = []
    for region in (region for atom in atoms for region in atom.regions):
        if found and found[-1] == region:
            continue
        if found and _continues(found[-1], region):
            last = found[-1]
            found[-1] = Region(
                last.page,
                min(last.x0, region.x0),
                min(last.y0, region.y0),
                max(last.x1, region.x1),
                max(last.y1, region.y1),
            )
        else:
            found.append(region)
    return tuple(found)


def _continues(above: Region, below: Region) -> bool:
    if above.page != below.page or below.y1 < above.y1:
        return False
    shared = min(above.x1, below.x1) - max(above.x0, below.x0)
    return shared >= 0.6 * min(above.x1 - above.x0, below.x1 - below.x0)


def _counted(chunk: Chunk, max_tokens: int, count_tokens: Callable[[str], int]) -> Chunk:
    """Count a chunk near the limit as a whole: a text may have more tokens than its sentences together."""
    # Counting is slow, so a chunk well below the limit is not counted again.
    return replace(chunk, tokens=count_tokens(chunk.text)) if chunk.tokens > 0.8 * max_tokens else chunk


def _fitting(chunk: Chunk, max_tokens: int, count_tokens: Callable[[str], int]) -> Iterator[Chunk]:
    """Divide a counted chunk until no part exceeds the limit."""
    if chunk.tokens > max_tokens and len(chunk.text) > 1:
        for part in split_chunk(chunk):
            yield from _fitting(_counted(part, max_tokens, count_tokens), max_tokens, count_tokens)
    else:
        yield chunk
