"""Leave out the numbers of lines in drafts, bills and court records, which cut sentences and look like tables."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from prefect_ollama.tasks.parsing._split_between import split_between
from prefect_ollama.tasks.parsing.pdf._stext import Line, TextBlock, block_of

# Minimum numbers of a page.
_MIN_NUMBERS: Final = 10
_MAX_DIGITS: Final = 5
# Running text: its lines have so many characters on average, this part of them is nearly as long as the longest one,
# and this part begins in lower case.
_MIN_CHARACTERS: Final = 25
_FULL: Final = 0.85
_MOSTLY_FULL: Final = 0.5
_MOSTLY_LOWER: Final = 0.4
# So many of the numbers have a line beside them at least, and so many of the lines beside the column a number: lines of
# formulas may be higher or lower, and entries of a list have several lines.
_MOSTLY_BESIDE: Final = 0.7
# Maximum distance between a number and its line, vertically, in sizes of the type.
_LEVEL: Final = 0.4
# Numbers whose left or right edges are this near, in points, stand one below the other.
_ALIGNED: Final = 2.0

# Number of a block and of a line in it.
_Place = tuple[int, int]
_Number = tuple[int, Line, _Place]


def without_line_numbers(blocks: list[TextBlock]) -> tuple[list[TextBlock], int]:
    """Return the blocks of a page without the numbers of its lines, and how many characters these had."""
    # Most pages have not so many short lines.
    if len([text for block in blocks for text in block.texts if len(text) <= _MAX_DIGITS]) < _MIN_NUMBERS:
        return blocks, 0
    numbers = [
        (int(text), line, (i, k))
        for i, block in enumerate(blocks)
        for k, (line, text) in enumerate(zip(block.lines, block.texts, strict=True))
        if len(text) <= _MAX_DIGITS and text.strip().isdecimal() and not line[7]
    ]
    gone: set[_Place] = set()
    for column in (*_columns(numbers, 0), *_columns(numbers, 2)):
        if len(column) >= _MIN_NUMBERS and _go_up(column) and _beside_text(column, blocks):
            gone |= {place for _, _, place in column}
    if not gone:
        return blocks, 0
    count = sum(len(blocks[i].texts[k].strip()) for i, k in gone)
    return list(_without(blocks, gone)), count


def _columns(numbers: list[_Number], edge: int) -> Iterator[list[_Number]]:
    """Return the numbers with one left (0) or right (2) edge."""
    numbers.sort(key=lambda each: each[1][edge])
    return split_between(numbers, lambda one, other: other[1][edge] - one[1][edge] > _ALIGNED)


def _go_up(column: list[_Number]) -> bool:
    """Return whether numbers go up by one from line to line."""
    column.sort(key=lambda each: each[1][4])
    return all(below[0] == above[0] + 1 for above, below in pairwise(column))


def _beside_text(column: Sequence[_Number], blocks: Sequence[TextBlock]) -> bool:
    """Return whether numbers have lines of running text to their right, apart from a few formulas."""
    right = max(line[2] for _, line, _ in column)
    lines = sorted(
        (line[0], line[4], line[2], text)
        for block in blocks
        for line, text in zip(block.lines, block.texts, strict=True)
        if line[0] >= right and not line[7]
    )
    found = []
    for _, line, _ in column:
        found += [each for each in lines if abs(each[1] - line[4]) < _LEVEL * line[5]][:1]
    first, last = column[0][1], column[-1][1]
    beside = sum(first[4] - first[5] / 2 < y < last[4] + last[5] / 2 for _, y, _, _ in lines)
    if len(found) < _MOSTLY_BESIDE * max(len(column), beside):
        return False
    if sum(len(text) for *_, text in found) < _MIN_CHARACTERS * len(found):
        return False
    longest = max(x1 - x0 for x0, _, x1, _ in found)
    full = sum(x1 - x0 > _FULL * longest for x0, _, x1, _ in found)
    lower = sum(text[:1].islower() for *_, text in found)
    return full >= _MOSTLY_FULL * len(found) and lower >= _MOSTLY_LOWER * len(found)


def _without(blocks: Sequence[TextBlock], gone: set[_Place]) -> Iterator[TextBlock]:
    for i, block in enumerate(blocks):
        left = [k for k in range(len(block.lines)) if (i, k) not in gone]
        if len(left) == len(block.lines):
            yield block
        elif left:
            yield block_of([block.lines[k] for k in left], [block.texts[k] for k in left])
