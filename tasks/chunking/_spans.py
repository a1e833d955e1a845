"""Choose where chunks begin and end.

A chunk never crosses from one chapter (a heading of the highest level) into another, unless a chapter is too short to
be a chunk. The end of a chunk is chosen among the borders near the target length, by their quality and by a hash of the
text that follows, and not by the beginning of the chunk. So an edit changes only a few borders after it, and all later
chunks keep their text.
"""

import zlib
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prefect_ollama.tasks.chunking._atoms import CHAPTER, HEADING, INSIDE, PARAGRAPH, SENTENCE, Atom
from prefect_ollama.tasks.chunking.options import ChunkOptions

# Score of a border by its kind: headings are best, and borders within a sentence are worst.
_WEIGHT: Final = {CHAPTER: 1.6, HEADING: 1.5, PARAGRAPH: 0.8, SENTENCE: 0.2, INSIDE: -0.5}
# Weight of the hash of the text after a border. This bonus makes borders fall in the same places again after an edit.
_HASH_WEIGHT: Final = 0.6
# Weight of the deviation from the target length, as a part of that length.
_LENGTH_WEIGHT: Final = 0.8


def chapters(atoms: list[Atom], min_tokens: int) -> Iterator[list[Atom]]:
    """Divide at chapters. A chapter that is too short goes with the next one, and the last with the one before."""
    found: list[list[Atom]] = []
    size = 0
    for atom in atoms:
        if not found or (atom.border == CHAPTER and size >= min_tokens and not found[-1][-1].is_heading):
            found.append([])
            size = 0
        found[-1].append(atom)
        size += atom.tokens
    if len(found) > 1 and size < min_tokens:
        last = found.pop()
        found[-1] += last
    yield from found


def spans(atoms: list[Atom], options: ChunkOptions, longest: int) -> Iterator[tuple[int, int]]:
    """Choose where chunks begin and end, as indices of atoms."""
    before = [0, *accumulate(atom.tokens for atom in atoms)]
    start = 0
    while start < len(atoms):
        end = _end(atoms, before, start, options, longest)
        yield start, end
        start = end


def _end(atoms: list[Atom], before: list[int], start: int, options: ChunkOptions, longest: int) -> int:
    count = len(atoms)
    base = before[start] - (0 if atoms[start].border >= HEADING else atoms[start].context_tokens)
    least = options.target_tokens // 2
    best, best_score = 0, float("-inf")
    last = start + 1
    for end in range(start + 1, count + 1):
        length = before[end] - base
        if length > longest and end > start + 1:
            break
        last = end
        if end == count:
            border = CHAPTER
        elif atoms[end - 1].is_heading or before[count] - before[end] < options.min_tokens:
            continue
        else:
            border = atoms[end].border
        if length < (options.min_tokens if border >= HEADING else least):
            continue
        score = _WEIGHT[border] - _LENGTH_WEIGHT * abs(length - options.target_tokens) / options.target_tokens
        if end < count:
            score += _HASH_WEIGHT * (zlib.crc32(atoms[end].text.encode()) & 0xFFFF) / 0xFFFF
        if score > best_score:
            best, best_score = end, score
    if best:
        return best
    # No border qualifies: take as much as fits, but do not end with a heading.
    while last > start + 1 and last < count and atoms[last - 1].is_heading:
        last -= 1
    return last
