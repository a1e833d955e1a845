"""Find headings and their levels, by the file's outline if there is one, and if not, by their type."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from prefect_ollama.tasks.parsing.pdf._amounts import is_amount
from prefect_ollama.tasks.parsing.pdf._heading_parts import (
    MAX_HEADING_CHARACTERS,
    NUMBER,
    labels_joined,
    lines_joined,
)
from prefect_ollama.tasks.parsing.pdf._layout import LEADERS, Piece, RawPage, letters_and_digits
from prefect_ollama.tasks.parsing.pdf._paragraph_breaks import BULLETS
from prefect_ollama.tasks.parsing.pdf._table_header import is_period, is_unit

# A heading has at least two letters; numbers and signs alone are labels of pictures or pages.
_TWO_LETTERS: Final = re.compile(r"[^\W\d_¹²³⁰-⁹].*?[^\W\d_¹²³⁰-⁹]", re.DOTALL)
# The outline may leave out the number of a chapter, or have one that the page does not show.
_PREFIX: Final = re.compile(r"(?:chapter|kapitel|chapitre|part|teil|appendix|anhang|section)?[\divxlc]*")
# Type that is this many times larger than the text is that of a heading.
_LARGER: Final = 1.12
# A bold piece in the size of the text is a heading if it is not longer, in characters, and has a smaller part of
# digits.
_MAX_BOLD_CHARACTERS: Final = 150
_MAX_DIGITS: Final = 0.4
# Text in brackets is a unit or a remark ("(in millions)").
_BRACKETS: Final = re.compile(r"[(\[].*[)\]]")
# Bold words between two lines of a table or a title page, which are no headings.
_CONNECTS: Final = re.compile(
    r"(?:and|or|und|oder|et|ou|y|o|and/or|continued|total|by|to|note|see)\W*", re.IGNORECASE
)
# A line that ends so continues on the next line, so it is a line of a paragraph.
_LOOSE_END: Final = re.compile(
    r"\b(?:the|a|an|of|and|or|to|for|in|on|by|with|from|that|which|our|its|their)$", re.IGNORECASE
)
# Minimum number of words of a sentence, and minimum share of words that begin in lower case. Attached contracts may be
# set in larger type than the report, and their sentences are no headings. Headings may end with a full stop, too
# ("5. Tax Withholding.", "13. Compliance with Applicable Laws and Regulations.").
_SENTENCE_WORDS: Final = 6
_SENTENCE_LOWER: Final = 0.45
_SENTENCE_END: Final = re.compile(r"[.;,:][\"'”’)\]]*\s*$")
# No heading of East Asia, where words have no spaces between them, has a full stop.
_FULL_STOP: Final = "。"
# Remarks below tables and pictures, and addresses, which are not headings although they may be bold.
_REMARK: Final = re.compile(r"(?:notes?|sources?)\s*:", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"\S*@\S+\.\w|.*\s\S+@\S+\.\w", re.DOTALL)
# A period or date alone, as above a table.
_DATED: Final = re.compile(r"\b(?:ended|ending|as of|as at|\d{1,2},? (?:19|20)\d\d)\b|\d{4}$", re.IGNORECASE)


@dataclass(slots=True)
class _Candidate:
    page: int
    piece: Piece
    rank: tuple[int, int]
    level: int = 0


def find_headings(
    pages: list[RawPage], body_size: int, outline: list[tuple[int, str, int]]
) -> dict[int, int]:
    """Return the level of every heading, 1 for the highest, by `id()` of its piece."""
    larger = _LARGER * body_size
    for page in pages:
        if any(piece.size > larger for piece in page.pieces):
            page.pieces = lines_joined(page.pieces, larger)
    candidates = list(_candidates(pages, body_size))
    _by_type(candidates)
    levels = _by_outline(pages, outline) if outline else {}
    if levels:
        _set_missing_levels(candidates, levels)
    for candidate in candidates:
        levels.setdefault(id(candidate.piece), candidate.level)
    for page in pages:
        page.pieces = labels_joined(page.pieces, levels)
    return _without_title(pages, levels)


def _without_title(pages: list[RawPage], levels: dict[int, int]) -> dict[int, int]:
    """Raise the chapters to the level of the document's title, if that is the only heading of level 1."""
    highest = [key for key, level in levels.items() if level == 1]
    first = next((id(p) for page in pages[:2] for p in page.pieces if id(p) in levels), None)
    if len(levels) > 2 and highest == [first]:
        return {key: max(1, level - 1) for key, level in levels.items()}
    return levels


def _candidates(pages: list[RawPage], body_size: int) -> Iterator[_Candidate]:
    bold_counts = _bold_share(pages) < 0.3
    larger = _LARGER * body_size
    least = 0.95 * body_size
    for page in pages:
        for piece, below in zip_longest(page.pieces, page.pieces[1:]):
            size = piece.size
            if size <= larger and not (bold_counts and piece.bold and size >= least):
                continue
            text = piece.text
            if (
                len(text) > MAX_HEADING_CHARACTERS
                or piece.lines > 3
                or piece.rows
                or piece.table
                or piece.code
                or piece.turned
                or LEADERS.search(text)
            ):
                continue
            if not _TWO_LETTERS.search(text) or is_amount(text):
                continue
            if size <= larger and (piece.lines > 2 or not _may_head(text)):
                continue
            if is_unit(text) or text[:1] in BULLETS or _REMARK.match(text) or _is_sentence(text):
                continue
            if ("@" in text and _ADDRESS.match(text)) or (below is not None and _goes_on(piece, below)):
                continue
            number = NUMBER.match(text)
            depth = number[1].count(".") + 1 if number else 1
            yield _Candidate(page.number, piece, (size if size > larger else 0, depth))


def _is_sentence(text: str) -> bool:
    """Return whether a text in larger type is a sentence or an item of a list, by its end and its words."""
    if _FULL_STOP in text:
        return True
    words = text.split()
    if len(words) < _SENTENCE_WORDS or not _SENTENCE_END.search(text):
        return False
    return sum(word[:1].islower() for word in words) >= _SENTENCE_LOWER * len(words)


def _goes_on(piece: Piece, below: Piece) -> bool:
    """Return whether a piece is a line of a sentence that the next piece continues."""
    return (
        below.text[:1].islower()
        and not (piece.bold and below.bold)
        and below.size == piece.size
        and piece.x0 < below.x1
        and below.x0 < piece.x1
        and abs(below.y0 - piece.y1) < 0.7 * piece.size
    )


def _may_head(text: str) -> bool:
    """Return whether bold type of the text's size may be a heading, and not a sentence, date, reference or sign."""
    text = " ".join(text.split())
    if text.endswith((".", ",", ";", ":", "-", "–", "—", "&", "(")) or len(text) > _MAX_BOLD_CHARACTERS:
        return False
    first = next((character for character in text if character.isalnum()), "")
    if first.islower() or _LOOSE_END.search(text):
        return False  # A line out of the middle of a sentence.
    if _BRACKETS.fullmatch(text) or (is_period(text) and not NUMBER.match(text) and _DATED.search(text)):
        return False
    digits = sum(map(str.isdigit, text))
    return digits <= _MAX_DIGITS * len(text) and _CONNECTS.fullmatch(text) is None


def _bold_share(pages: list[RawPage]) -> float:
    bold = total = 0
    for page in pages:
        for piece in page.pieces:
            length = len(piece.text)
            total += length
            if piece.bold:
                bold += length
    return bold / total if total else 0.0


def _by_type(candidates: list[_Candidate]) -> None:
    """Larger type is a higher level; among headings of one size the depth of their number decides."""
    sizes = sorted({candidate.rank[0] for candidate in candidates}, reverse=True)
    steps: dict[int, int] = {}
    for i, size in enumerate(sizes):
        # Sizes that hardly differ count as one.
        steps[size] = steps[sizes[i - 1]] if i and size > 0.94 * sizes[i - 1] else len(set(steps.values()))
    for candidate in candidates:
        candidate.rank = (steps[candidate.rank[0]], candidate.rank[1])
    ranks = sorted({candidate.rank for candidate in candidates})
    for candidate in candidates:
        candidate.level = min(ranks.index(candidate.rank) + 1, 6)


def _by_outline(pages: list[RawPage], outline: list[tuple[int, str, int]]) -> dict[int, int]:
    """Find the pieces on their pages that the outline names."""
    wanted: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    for level, title, number in outline:
        key = letters_and_digits(title)
        if key:
            wanted[number - 1].append((key, level))
    found: dict[int, int] = {}
    for page in pages:
        entries = wanted.get(page.number)
        if not entries:
            continue
        longest = 1.5 * max(len(key) for key, _ in entries) + 40
        lasts = {key[-1] for key, _ in entries}
        keys = [
            (letters_and_digits(piece.text), piece)
            for piece in page.pieces
            if len(piece.text) <= longest
            and piece.lines <= 4
            and not lasts.isdisjoint(piece.text[-4:].casefold())  # the cheapest test first
            and not LEADERS.search(piece.text)
        ]
        for wanted_key, level in entries:
            same = [piece for key, piece in keys if id(piece) not in found and _same(key, wanted_key)]
            if same:  # Rather the heading than a running head that repeats it.
                found[id(max(same, key=lambda piece: piece.size))] = min(level, 6)
    return found


def _same(key: str, wanted: str) -> bool:
    """Return whether they are the same title, without a number or the word "Chapter" before it."""
    if key == wanted:
        return True
    if key.endswith(wanted):
        return _PREFIX.fullmatch(key[: -len(wanted)]) is not None
    return (
        bool(key)
        and wanted.endswith(key)
        and _PREFIX.fullmatch(wanted[: -len(key)]) is not None
        and len(key) > 2
    )


def _set_missing_levels(candidates: list[_Candidate], levels: dict[int, int]) -> None:
    """Give headings that the outline leaves out the level of those it names in the same type, else a deeper one."""
    seen: defaultdict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    for candidate in candidates:
        if id(candidate.piece) in levels:
            seen[candidate.rank][levels[id(candidate.piece)]] += 1
    deepest = max(levels.values())
    for candidate in candidates:
        if candidate.rank in seen:
            candidate.level = seen[candidate.rank].most_common(1)[0][0]
        else:
            above = [seen[rank].most_common(1)[0][0] for rank in seen if rank < candidate.rank]
            candidate.level = min(6, max(above) + 1 if above else 1 if candidate.page <= 1 else deepest)
