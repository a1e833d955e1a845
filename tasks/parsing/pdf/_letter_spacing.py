"""Join words with letter spacing, as in many titles: MuPDF takes the space between letters for a space between words.

Such letters are recognised by their spaces: within a word all spaces are equally wide, and those between words are
wider. Single letters that are words have other spaces: those of the words around them, or those of columns, whose
distance does not depend on their content.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from prefect_ollama.tasks.parsing._split_between import split_between
from prefect_ollama.tasks.parsing.pdf._glyphs import Glyph, glyphs
from prefect_ollama.tasks.parsing.pdf._lines import RIGHT_TO_LEFT
from prefect_ollama.tasks.parsing.pdf._stext import LEVEL, Line, TextBlock, block_of
from prefect_ollama.tasks.parsing.pdf._word_ends import Letter, word_ends

# Lengths are in sizes of the type. Letters with letter spacing have at least this space between them.
_MIN_GAP: Final = 0.07
# With fewer letters, a word with letter spacing cannot be recognised by its spaces.
_MIN_LETTERS: Final = 4
# Text that is farther away than this is another text beside it.
_BESIDE: Final = (3.2, 0.6)
# Maps text to one byte for each character: 0 for a space or line end, 1 for others. Three single letters in a row
# then show as `_SINGLES`, which is found much faster than by words.
_BYTES: Final = bytes(0 if each in b" \n" else 1 for each in range(256))
# Bytes of UTF-8 within a character, which are removed, so that each character is one byte.
_CONTINUED: Final = bytes(range(0x80, 0xC0))
# A space, a character, three times: three single letters. A pattern finds it faster than `in`, which compares anew
# behind each byte.
_SINGLES: Final = re.compile(b"\0\1\0\1\0\1\0")


def without_letter_spacing(blocks: list[TextBlock], text: bytes) -> list[TextBlock]:
    """Return the blocks of a page with words in place of letters with letter spacing.

    `text` is all text of the page in UTF-8, a line for each of its lines.
    """
    if not _SINGLES.search(b"\0" + text.translate(_BYTES, _CONTINUED)):
        return blocks
    return [_words_of(block) if _has_singles(block.texts) else block for block in blocks]


def _has_singles(texts: list[str]) -> bool:
    """Return whether there are three single signs in a row, two of them letters. Dots before a number do not count."""
    words = " ".join(texts).split()
    return any(
        len(a) == len(b) == len(c) == 1 and a.isalpha() + b.isalpha() + c.isalpha() > 1
        for a, b, c in zip(words, words[1:], words[2:], strict=False)
    )


def _words_of(block: TextBlock) -> TextBlock:
    lines: list[Line] = []
    texts: list[str] = []
    rows = list(split_between(zip(block.lines, block.texts, strict=True), _are_parted))
    grid = sum(_has_singles([text for _, text in row]) for row in rows) > 1
    for row in rows:
        row_lines, row_texts = [line for line, _ in row], [text for _, text in row]
        if not RIGHT_TO_LEFT.search("".join(row_texts)):
            row_lines, row_texts = _joined(row_lines, row_texts, grid)
        lines += row_lines
        texts += row_texts
    return block_of(lines, texts) if texts != block.texts else block


def _are_parted(before: tuple[Line, str], after: tuple[Line, str]) -> bool:
    """Return whether two lines that follow each other do not stand on one baseline."""
    return abs(after[0][4] - before[0][4]) > LEVEL or after[0][0] < before[0][2]


def _joined(lines: list[Line], texts: list[str], grid: bool) -> tuple[list[Line], list[str]]:
    """Return a row of lines, with its letters that are set apart joined to words, and the lines that this makes one.

    `grid` says whether other rows of the block have letters apart too, as the rows of a table have.
    """
    letters = list(_letters(lines, texts))
    if any(not letter.glyph.at for letter in letters):
        return lines, texts
    gaps = [_gap(before.glyph, after.glyph) for before, after in pairwise(letters)]
    # By the number of a gap in a word that is set apart: whether a word ends at it.
    words: dict[int, bool] = {}
    for start, end in _runs(letters, gaps):
        around = _around(letters, gaps, start, end)
        ends = word_ends(letters[start:end], gaps[start : end - 1], around, grid)
        if ends is not None:
            words |= {start + i: i in ends for i in range(end - start - 1)}
    if not words:
        return lines, texts
    made: list[tuple[int, str]] = []
    for i, letter in enumerate(letters):
        text = letter.glyph.text
        if made and (i - 1 in words or letter.line == letters[i - 1].line):
            space = words[i - 1] if i - 1 in words else _is_parted(letters[i - 1], letter, texts)
            made[-1] = (made[-1][0], f"{made[-1][1]}{' ' * space}{text}")
        else:
            made.append((letter.line, text))
    return _merged(lines, made)


def _letters(lines: list[Line], texts: list[str]) -> Iterator[Letter]:
    for number, (line, text) in enumerate(zip(lines, texts, strict=True)):
        spaced = False
        for glyph in glyphs(line, text):
            if glyph.text.isspace():
                spaced = spaced or glyph.written
                continue
            yield Letter(glyph, number, spaced)
            spaced = False


def _is_parted(before: Letter, letter: Letter, texts: list[str]) -> bool:
    """Return whether MuPDF has put a space between two letters of one line."""
    return letter.spaced or _gap(before.glyph, letter.glyph) > 2 * _MIN_GAP * letter.glyph.size


def _gap(before: Glyph, after: Glyph) -> float:
    along = (after.x - before.x) * before.right + (after.y - before.y) * before.down
    return along - before.width


def _runs(letters: Sequence[Letter], gaps: list[float]) -> Iterator[tuple[int, int]]:
    """Yield runs of letters with space on both sides, each as its first index and the index after its last."""

    def is_apart(i: int) -> bool:
        size = min(letters[i].glyph.size, letters[i + 1].glyph.size)
        return gaps[i] > _MIN_GAP * size

    start = 0
    for i in range(len(letters) + 1):
        alone = i < len(letters) and (i == 0 or is_apart(i - 1)) and (i == len(gaps) or is_apart(i))
        if not alone:
            if i - start >= _MIN_LETTERS:
                yield from _divided(letters, gaps, start, i)
            start = i + 1


def _divided(letters: Sequence[Letter], gaps: list[float], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Divide letters where so much space is left that another text begins."""
    factor, more = _BESIDE
    most = factor * min(gaps[start : end - 1]) + more * letters[start].glyph.size
    for i in range(start, end):
        if i + 1 == end or gaps[i] > most:
            if i + 1 - start >= _MIN_LETTERS:
                yield start, i + 1
            start = i + 1


def _around(letters: Sequence[Letter], gaps: list[float], start: int, end: int) -> list[float]:
    """Return the spaces that MuPDF sees before and after letters, as far as there are words there."""
    return [gaps[i] for i in (start - 1, end - 1) if 0 <= i < len(gaps) and not letters[i + 1].spaced]


def _merged(lines: list[Line], made: list[tuple[int, str]]) -> tuple[list[Line], list[str]]:
    """Return the lines that are left, each with the lines that were joined to it."""
    starts = [number for number, _ in made]
    found: list[Line] = []
    for start, end in pairwise([*starts, len(lines)]):
        part = lines[start:end]
        first = part[0]
        box = (first[0], min(line[1] for line in part), part[-1][2], max(line[3] for line in part))
        found.append((*box, *first[4:]))
    return found, [text for _, text in made]
