"""Find the ends of words among letters that are set apart, or that these are single letters."""

import re
from collections.abc import Sequence
from itertools import pairwise
from statistics import median, pstdev
from typing import Final, NamedTuple

from prefect_ollama.tasks.parsing.pdf._glyphs import Glyph

# Lengths are in sizes of the type. Maximum distance between letters of one word.
_MAX_GAP: Final = 1.5
# A space between words is wider than that between letters by this factor, and by so much.
_WIDER: Final = 1.3
_WIDER_BY: Final = 0.08
# And so much wider where every letter is followed by a space that is written: in "a b  c d" it may be a slip.
_WIDER_IF_WRITTEN: Final = 1.6
# Letters of a word are so evenly set, kerning apart.
_EVENLY: Final = 0.12
_MOSTLY: Final = 0.85
# In monospaced type, a word with more different letters than this is not a row of cells.
_MANY: Final = 4
# Letter widths that differ by less than this are not used.
_UNEVEN: Final = 0.04
# Other signs, such as operators, belong to formulas, whose letters are not words.
_ALLOWED: Final = re.compile(r"[\w.,:;!?'’\"“”&/()\-–—]")


class Letter(NamedTuple):
    """A character that shows, with its line and whether a space is written before it."""

    glyph: Glyph
    line: int
    spaced: bool


def word_ends(
    letters: Sequence[Letter], gaps: list[float], around: list[float], grid: bool
) -> set[int] | None:
    """Return after which letters a word ends; None if they are single letters.

    Args:
        gaps: The spaces between them.
        around: The spaces that separate them from words beside them, without those that are written.
        grid: Whether they may be cells of a table.
    """
    size = median(letter.glyph.size for letter in letters)
    text = "".join(letter.glyph.text for letter in letters)
    if not _may_be_words(text):
        return None
    written = [letter.spaced for letter in letters[1:]]
    if any(written) and not all(written):
        ends = {i for i, space in enumerate(written) if space}
        within = median(gap for gap, space in zip(gaps, written, strict=True) if not space)
    else:
        within, ends = _by_width(gaps, size, _WIDER_IF_WRITTEN if all(written) else _WIDER)
    # Where words have written spaces between them, letters without one are set apart, however wide it is.
    if within > _MAX_GAP * size or any(gap < _WIDER * within for gap in around):
        return None
    inner = [i for i in range(len(gaps)) if i not in ends]
    even = sum(abs(gaps[i] - within) <= _EVENLY * size for i in inner)
    if even < _MOSTLY * len(inner):
        return None
    if not ends and all(written):
        return None
    words = _lengths(len(letters), ends)
    if ends and max(words) < 3:
        return None
    if all(written) and sum(words) < 3 * len(words):
        return None
    return ends if _are_set_evenly(letters, gaps, inner, size, bool(ends), grid) else None


def _may_be_words(text: str) -> bool:
    """Return whether letters are not those of a list (a b c), of a column with few values, or of a formula."""
    if len(set(text.casefold())) < 3 or not all(_ALLOWED.match(character) for character in text):
        return False
    if sum(character.isalpha() for character in text) < 0.5 * len(text):
        return False
    steps = [ord(b) - ord(a) for a, b in pairwise(text.casefold())]
    return sum(step == 1 for step in steps) < 0.6 * len(steps)


def _by_width(gaps: list[float], size: float, factor: float) -> tuple[float, set[int]]:
    """Return the usual space between letters, and the numbers of the spaces that are much wider."""
    ordered = sorted(gaps)
    within = ordered[len(ordered) // 4]
    within = median(gap for gap in gaps if gap <= factor * within + _WIDER_BY * size)
    return within, {i for i, gap in enumerate(gaps) if gap > factor * within + _WIDER_BY * size}


def _lengths(count: int, ends: set[int]) -> list[int]:
    borders = [-1, *sorted(ends), count - 1]
    return [after - before for before, after in pairwise(borders)]


def _are_set_evenly(
    letters: Sequence[Letter], gaps: list[float], inner: list[int], size: float, several: bool, grid: bool
) -> bool:
    """Return whether spaces are more even than the places of the letters, as those in columns are not."""
    widths = [letters[i].glyph.width for i in inner]
    if pstdev(widths) < _UNEVEN * size:
        # In monospaced type only the spaces between words show it, or a word that is too long for a row of cells.
        different = {letter.glyph.text for letter in letters if letter.glyph.text.isalpha()}
        return several or (not grid and len(different) > _MANY)
    spaces = pstdev([gaps[i] for i in inner])
    return all(
        spaces < pstdev([gaps[i] + width(i) for i in inner])
        for width in (
            lambda i: letters[i].glyph.width,
            lambda i: letters[i + 1].glyph.width,
            lambda i: (letters[i].glyph.width + letters[i + 1].glyph.width) / 2,
        )
    )
