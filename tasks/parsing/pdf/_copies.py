"""Remove copies of text that is drawn several times in one place, to look bold, outlined or with a shadow.

A copy is a word whose letters are all beside the same letters of text that was drawn before, all at the same distance,
and nearer than any following letter could be. So visible repetitions do not count as copies, and neither do two
different texts that are drawn over each other.

Most pages have no lines that overlap, and are not analysed further.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from prefect_ollama.tasks.parsing._split_between import split_between
from prefect_ollama.tasks.parsing.pdf._glyphs import Glyph, glyphs
from prefect_ollama.tasks.parsing.pdf._lines import RIGHT_TO_LEFT
from prefect_ollama.tasks.parsing.pdf._possible_copies import SHADOW, Place, suspicious_lines
from prefect_ollama.tasks.parsing.pdf._stext import BOLD, Line, TextBlock, block_of

# Lengths are in sizes of the type. A letter is at most this part of its width away from its copy, and a little more
# if the copy is higher or lower. Two equal letters side by side have a larger distance.
_PART_OF_WIDTH: Final = 0.5
_PART_IF_HIGHER: Final = 0.8
# The distances of the letters of a word from their copies differ by at most this.
_EVENLY: Final = 0.06
# A letter whose size differs by more than this factor is not a copy.
_OTHER_SIZE: Final = 1.1
# A word ends at a larger space than this, or where letters are higher or lower by more.
_GAP: Final = 0.25
_LEVEL: Final = 0.02
# The distance at which MuPDF itself inserts a space.
_SPACE: Final = 0.15
# Letters of a page that are compared at most: some hundred times as many as a page of a book has.
_MAX_GLYPHS: Final = 200_000
# Maximum number of earlier equal letters with which a letter is compared, so that the time stays linear.
_MAX_CANDIDATES: Final = 8
# A line is bold by its copies if at least this part of it has a copy.
_MOSTLY: Final = 0.8
# Size in points of the squares by which letters are found.
_CELL: Final = 8.0


def without_copies(blocks: list[TextBlock], text: bytes) -> tuple[list[TextBlock], int]:
    """Return the blocks of a page without copies of text, and the number of characters in the copies.

    Lines with a copy over their whole length are bold.
    """
    places = suspicious_lines(blocks, text)
    if not places:
        return blocks, 0
    found = _Copies()
    left: dict[Place, list[Glyph]] = {}
    for place in sorted(places):
        block, number = blocks[place[0]], place[1]
        found.seen += len(block.texts[number])
        if found.seen > _MAX_GLYPHS:
            break
        left[place] = found.without(place, glyphs(block.lines[number], block.texts[number]))
    if not found.copied.total():
        return blocks, 0
    return list(_rebuilt(blocks, left, found)), found.copied.total()


class _Kept(NamedTuple):
    """A letter that is not a copy, with its line, its word, and its position in the word."""

    glyph: Glyph
    place: Place
    word: list[Glyph]
    position: int


class _Copies:
    """Finds copies among the words of a page, in the order in which they are drawn."""

    def __init__(self) -> None:
        self.seen = 0
        self.copied: Counter[Place] = Counter()
        self._kept: defaultdict[tuple[str, int, int], list[_Kept]] = defaultdict(list)

    def without(self, place: Place, line: list[Glyph]) -> list[Glyph]:
        """Return the letters of a line that are not copies."""
        left: list[Glyph] = []
        single = _each_once(line)
        self.copied[place] += len(line) - len(single)
        for word in _words(single):
            if word[0].text.isspace():
                if left:
                    left += word
                continue
            while word and (originals := self._originals(word)):
                self.copied.update(original.place for original in originals)
                word = word[len(originals) :]
            left += word
            for position, glyph in enumerate(word):
                self._kept[_cell(glyph)].append(_Kept(glyph, place, word, position))
        return left

    def _originals(self, word: list[Glyph]) -> list[_Kept]:
        """Return the letters that a word, or its beginning, is a copy of; an empty list if it is not a copy."""
        for first in self._near(word[0], 0.0, 0.0, _limit(word)):
            dx, dy = word[0].x - first.glyph.x, word[0].y - first.glyph.y
            originals = [first]
            for glyph in word[1:]:
                same = next(self._near(glyph, dx, dy, _EVENLY), None)
                if same is None:
                    break
                originals.append(same)
            if len(originals) == len(word) or (
                first.position == 0
                and 1 < len(originals) == len(first.word)
                and originals[-1].word is first.word
            ):
                return originals
        return []

    def _near(self, glyph: Glyph, dx: float, dy: float, limit: float) -> Iterator[_Kept]:
        """Return the same letters as one, around the place from which that was moved."""
        x, y = glyph.x - dx, glyph.y - dy
        text, column, row = glyph.text, int(x // _CELL), int(y // _CELL)
        reach = max(limit, 0.01) * glyph.size
        steps = range(-1 - int(reach // _CELL), 2 + int(reach // _CELL))
        for cell in ((text, column + i, row + k) for i in steps for k in steps):
            for kept in self._kept.get(cell, ())[-_MAX_CANDIDATES:]:
                other = kept.glyph
                if (
                    abs(other.x - x) <= reach
                    and abs(other.y - y) <= reach
                    and other.size < _OTHER_SIZE * glyph.size < _OTHER_SIZE**2 * other.size
                ):
                    yield kept


def _limit(word: list[Glyph]) -> float:
    """Return how far from its original a copy of a word may stand."""
    if len(word) > 1:
        return SHADOW
    glyph = word[0]
    return min(SHADOW, _PART_OF_WIDTH * glyph.width / glyph.size)


def _cell(glyph: Glyph) -> tuple[str, int, int]:
    return glyph.text, int(glyph.x // _CELL), int(glyph.y // _CELL)


def _words(line: list[Glyph]) -> Iterator[list[Glyph]]:
    """Divide a line at spaces and gaps, and where it goes back over itself; each space is by itself."""
    return split_between(
        line,
        lambda before, glyph: glyph.text.isspace() or before.text.isspace() or not _follows(before, glyph),
    )


def _each_once(line: list[Glyph]) -> list[Glyph]:
    """Return the letters of a line without those that are drawn again at once."""
    single = line[:1]
    for before, glyph in pairwise(line):
        if glyph.text != before.text or glyph.text.isspace() or not _is_again(single[-1], before, glyph):
            single.append(glyph)
    return single


def _is_again(first: Glyph, before: Glyph, glyph: Glyph) -> bool:
    """Return whether a letter is drawn on the same one before it: letters of a word have more distance, and one height.

    `first` is the letter as it was drawn first, and `before` its last copy, or the letter itself.
    """
    if abs(_step(first, glyph)[1]) < abs(_step(first, before)[1]) - _LEVEL * glyph.size:
        return False  # Back on the line: the next letter of the word.
    along, across = map(abs, _step(before, glyph))
    part = _PART_OF_WIDTH if across < _LEVEL * glyph.size else _PART_IF_HIGHER
    return along <= min(SHADOW * glyph.size, part * glyph.width) and across <= SHADOW * glyph.size


def _follows(before: Glyph, glyph: Glyph) -> bool:
    """Return whether a letter stands where the next one of a word does."""
    along, across = _step(before, glyph)
    # Right to left the next letter ends where this one begins.
    step = -glyph.width if RIGHT_TO_LEFT.match(glyph.text) else before.width
    return abs(along - step) < _GAP * glyph.size and abs(across) < _LEVEL * glyph.size


def _step(before: Glyph, glyph: Glyph) -> tuple[float, float]:
    """Return how far one letter stands from another along their line and across it, in points."""
    x, y = glyph.x - before.x, glyph.y - before.y
    return x * before.right + y * before.down, y * before.right - x * before.down


def _goes_on(before: list[Glyph] | None, kept: list[Glyph]) -> bool:
    """Return whether the rest of a line continues the rest of the one before."""
    if not before:
        return False
    along, across = _step(before[-1], kept[0])
    return (
        -_GAP * kept[0].size < along - before[-1].width < kept[0].size and abs(across) < _LEVEL * kept[0].size
    )


def _rebuilt(blocks: list[TextBlock], left: dict[Place, list[Glyph]], found: _Copies) -> Iterator[TextBlock]:
    for i, block in enumerate(blocks):
        if not any((i, k) in left for k in range(len(block.lines))):
            yield block
            continue
        lines: list[Line] = []
        texts: list[str] = []
        before: list[Glyph] | None = None
        for k, (line, text) in enumerate(zip(block.lines, block.texts, strict=True)):
            kept = _stripped(left[i, k]) if (i, k) in left else None
            if kept is not None:
                if not kept:
                    continue
                bold = found.copied[i, k] >= _MOSTLY * sum(not glyph.text.isspace() for glyph in kept)
                if len(kept) < len(text.strip()):
                    if _goes_on(before, kept):
                        kept = [*(before or ()), *kept]
                        lines.pop()
                        texts.pop()
                    line, text = _line_of(line, kept)
                if bold:
                    line = (*line[:6], BOLD, *line[7:])
            before = kept
            lines.append(line)
            texts.append(text)
        if lines:
            yield block_of(lines, texts)


def _stripped(kept: list[Glyph]) -> list[Glyph]:
    written = [i for i, glyph in enumerate(kept) if not glyph.text.isspace()]
    return kept[written[0] : written[-1] + 1] if written else []


def _line_of(line: Line, kept: list[Glyph]) -> tuple[Line, str]:
    """Return a line without its copies."""
    text = kept[0].text
    for before, glyph in pairwise(kept):
        # Where letters were drawn between, MuPDF saw no gap.
        apart = _step(before, glyph)[0] - before.width > _SPACE * glyph.size
        text += f" {glyph.text}" if apart else glyph.text
    x0, x1 = min(glyph.x0 for glyph in kept), max(glyph.x1 for glyph in kept)
    y0, y1 = line[1], line[3]
    first = kept[0]
    if abs(first.down) > abs(first.right):  # From top to bottom or the other way.
        x0, x1 = line[0], line[2]
        y0, y1 = min(glyph.y for glyph in kept), max(glyph.y for glyph in kept)
    return (x0, y0, x1, y1, first.y, first.size, *line[6:8], first.at), " ".join(text.split())
