"""Running heads and feet, and page numbers: lines that repeat and say nothing of the page they stand on.

A line is left out only if its text is known from another place: page numbers from the number of the page, titles
from the heading that they repeat, and any other line from its first occurrence, which stays. What tells one page
from another, such as the number of an invoice, stays on every page.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from prefect_ollama.tasks.parsing.dropped import Dropped
from prefect_ollama.tasks.parsing.page_numbers import PageNumber, page_number
from prefect_ollama.tasks.parsing.pieces import SCALE, Piece, RawPage

# How much of a page at its top and bottom is searched, and for how many pieces.
_BAND: Final = 0.13
_PIECES: Final = 3
# On how many pages a line must stand at the same height to be one that repeats.
_MIN_PAGES: Final = 3
# And on one of so many from the first of them to the last: a line of code now and then at a foot is text. Left and
# right pages may have different heads, and the first pages of chapters have none.
_ONE_OF: Final = 3
_SAME_HEIGHT: Final = 40  # tenths of a point
# A line that stands on this share of the pages that have a repeated line at its height does not tell them apart.
_COMMON: Final = 0.8
# And stands on this share of all pages: three tables that begin alike have no running head.
_MIN_SHARE: Final = 0.1
# Type that is larger than this, in sizes of the text's type, is that of a title.
_TITLE_SIZE: Final = 1.15
# A title with fewer letters and digits is found by chance: a large initial, a year.
_MIN_TITLE: Final = 4
# A file of no more pages may show a head twice only, on two left or two right pages.
_SHORT_FILE: Final = 5
# Numbers alone that are greater than this and than twice the number of pages may be those of years or invoices.
_MAX_NUMBER: Final = 999
_NOT_WORDS: Final = re.compile(r"[\W_]+")


@dataclass(slots=True, eq=False)
class _Line:
    """A line at the top or bottom of a page that may repeat.

    Attributes:
        rule: "header" or "footer".
        page: Its page.
        piece: Its piece.
        text: What it says, white space made even.
        number: The page number that it may hold.
    """

    rule: str
    page: RawPage
    piece: Piece
    text: str
    number: PageNumber | None

    @property
    def height(self) -> int:
        return self.piece.y0


@dataclass(slots=True)
class _Group:
    """Lines that say the same at one height."""

    lines: list[_Line]
    pages: set[int]


def drop_running_heads(
    pages: list[RawPage], body_size: int, titles: Iterable[tuple[str, int]], dropped: Dropped
) -> None:
    """Take running heads, feet and page numbers from the pages, in place, and mark those that stay as such.

    No page loses all of its text.

    Args:
        pages: All pages in order.
        body_size: Size of the type that most of the text is set in.
        titles: Title of the document and of its chapters as the file names them, each with its page counted from
            0; a running head that repeats one on a later page is known by that.
        dropped: What is left out is counted here.
    """
    lines = [line for page in pages for line in _candidates(page)]
    numbers = _page_numbers(lines, len(pages), body_size)
    doomed: dict[int, tuple[str, str]] = {}  # By `id()` of the piece: rule, and what it is listed as.
    heads: list[_Line] = []
    for line in lines:
        if id(line) not in numbers:
            heads.append(line)
        elif line.number is not None and line.number.rest:
            line.text = line.number.rest
            heads.append(line)
        else:
            doomed[id(line.piece)] = "page-number", numbers[id(line)]
    shown = _large(pages, body_size)
    doomed |= {id(line.piece): (line.rule, line.text) for line in _titled(heads, shown, body_size, titles)}
    for group, common in _repeated(heads, len(pages)):
        rest = [line for line in group.lines if id(line.piece) not in doomed]
        for i, line in enumerate(rest):
            small = line.piece.size <= _TITLE_SIZE * body_size
            at = line.page.number
            # The first one stays, unless the words are a title above it.
            if common and (i > 0 or (small and shown.get(_words(line.text), at + 1) <= at)):
                doomed[id(line.piece)] = line.rule, line.text
            else:
                line.piece.margin = small
    for page in pages:
        left = [piece for piece in page.pieces if id(piece) not in doomed]
        if len(left) == len(page.pieces) or not any(piece.table or piece.text.strip() for piece in left):
            continue
        for piece in page.pieces:
            if id(piece) in doomed:
                rule, like = doomed[id(piece)]
                dropped.line(rule, piece.text, like=like)
        page.pieces = left


def _candidates(page: RawPage) -> Iterator[_Line]:
    """The first pieces within the top of the page and the last ones within its bottom, of two lines at most."""
    pieces = page.pieces
    top, bottom = page.height * _BAND * SCALE, page.height * (1 - _BAND) * SCALE
    high = [piece for piece in pieces if piece.y1 <= top and piece.lines <= 2 and not piece.table]
    low = [piece for piece in pieces if piece.y0 >= bottom and piece.lines <= 2 and not piece.table]
    if len(high) > _PIECES:
        high = sorted(high, key=lambda piece: piece.y0)[:_PIECES]
    if len(low) > _PIECES:
        low = sorted(low, key=lambda piece: -piece.y1)[:_PIECES]
    for rule, found in (("header", high), ("footer", low)):
        for piece in found:
            text = " ".join(piece.text.split())
            yield _Line(rule, page, piece, text, page_number(text, piece.rows))


def _page_numbers(lines: list[_Line], count: int, body_size: int) -> dict[int, str]:
    """Find the lines whose number is that of their page, by `id()`, each with the first line of its row of numbers.

    A page number goes up by one with every page; where it starts from is the book's own.
    """
    by_offset: defaultdict[int, list[_Line]] = defaultdict(list)
    for line in lines:
        if line.number is not None:
            by_offset[line.number.value - line.page.number].append(line)
    found: dict[int, str] = {}
    for offset, same in by_offset.items():
        pages = {line.page.number for line in same}
        if len(pages) >= _MIN_PAGES:
            if not _is_dense(pages):
                continue
        elif offset != 1 or count >= _MIN_PAGES:
            continue
        like = next((line for line in same if line.number and not line.number.rest), same[0]).text
        for line in same:
            # In a file of one or two pages, a number alone may be anything unless both pages have theirs.
            certain = len(pages) >= 2
            if _is_page_number(line, count, certain, body_size):
                found[id(line)] = like
            elif certain and line.number is not None and not line.number.rest:
                line.piece.margin = line.piece.size <= _TITLE_SIZE * body_size
    return found


def _is_page_number(line: _Line, count: int, certain: bool, body_size: int) -> bool:
    """Whether a number that goes up with the pages is their number, and not one of an invoice, a month or a year."""
    number = line.number
    if number is None:
        return False
    if number.labelled:
        return True
    if number.of:
        return number.value <= number.of <= count + _MIN_PAGES
    if number.rest:
        return 1 <= number.value <= count + _MIN_PAGES
    # The number that stands large above a page is its title.
    return (
        certain and number.value <= max(_MAX_NUMBER, 2 * count) and line.piece.size <= _TITLE_SIZE * body_size
    )


def _large(pages: list[RawPage], body_size: int) -> dict[str, int]:
    """The words that stand in large type, each with the first page where they do."""
    found: dict[str, int] = {}
    for page in pages:
        for piece in page.pieces:
            if piece.size > _TITLE_SIZE * body_size:
                found.setdefault(_words(piece.text), page.number)
    return found


def _titled(
    lines: list[_Line], shown: dict[str, int], body_size: int, titles: Iterable[tuple[str, int]]
) -> list[_Line]:
    """The lines that repeat a title of a page before, at a height where at least two pages have such lines."""
    named: dict[str, int] = {}
    for title, number in titles:
        named.setdefault(_words(title), number)
    found: list[_Line] = []
    seen: set[str] = set()
    for line in lines:
        words = _words(line.text)
        if len(words) < _MIN_TITLE or words.isdecimal() or line.piece.size > body_size:
            continue
        number = line.page.number
        if number > shown.get(words, number) and _is_outermost(line):
            found.append(line)
        elif number >= named.get(words, number + 1) and _is_outermost(line):
            # The file names this title, and the pages may not show it: the first line that does stays.
            if words in seen:
                found.append(line)
            seen.add(words)
    return [
        line
        for rule in ("header", "footer")
        for group in _at_one_height([line for line in found if line.rule == rule])
        if len({line.page.number for line in group}) > 1
        for line in group
    ]


def _repeated(lines: list[_Line], count: int) -> Iterator[tuple[_Group, bool]]:
    """The groups of lines that repeat, each with whether it does not tell one page from another."""
    by_text: defaultdict[tuple[str, str], list[_Line]] = defaultdict(list)
    for line in lines:
        by_text[line.rule, line.text].append(line)
    by_rule: defaultdict[str, list[_Group]] = defaultdict(list)
    for (rule, text), same in by_text.items():
        if len(same) < 2 or not any(character.isalpha() for character in text):
            continue
        for found in _at_one_height(same):
            group = _Group(found, {line.page.number for line in found})
            if (len(group.pages) >= _MIN_PAGES and _is_dense(group.pages)) or _on_like_pages(group, count):
                by_rule[rule].append(group)
    for groups in by_rule.values():
        groups.sort(key=lambda group: group.lines[0].height)
        start = 0
        for i in range(1, len(groups) + 1):
            if i < len(groups) and groups[i].lines[0].height - groups[i - 1].lines[0].height <= _SAME_HEIGHT:
                continue
            beside, start = groups[start:i], i
            pages = set().union(*(group.pages for group in beside))
            for group in beside:
                enough = len(group.pages) >= _MIN_SHARE * count
                yield group, enough and _is_common(group, beside, pages)


def _is_common(group: _Group, beside: list[_Group], pages: set[int]) -> bool:
    """Whether most of the pages with a line at this height have this one, or most left or right pages.

    Args:
        group: Lines that say the same.
        beside: All groups at this height.
        pages: The pages of all of these.
    """
    if len(group.pages) >= _COMMON * len(pages):
        return True
    parity = min(group.pages) % 2
    if any(page % 2 != parity for page in group.pages):
        return False
    like = {page for page in pages if page % 2 == parity}
    return len(group.pages) >= _COMMON * len(like) and not any(
        _is_variant(group.lines[0], other.lines[0]) for other in beside if other is not group
    )


def _is_variant(one: _Line, other: _Line) -> bool:
    """Whether two lines are one with another name or number in it, as heads of left and right pages are not."""
    words = [{word for word in line.text.casefold().split() if len(word) > 2} for line in (one, other)]
    return abs(one.piece.x0 - other.piece.x0) <= _SAME_HEIGHT and not words[0].isdisjoint(words[1])


def _at_one_height(found: list[_Line]) -> Iterator[list[_Line]]:
    """Divide by height on the page, each part in the order of pages."""
    if not found:
        return
    found = sorted(found, key=lambda line: line.height)
    group = [found[0]]
    for line in found[1:]:
        if line.height - group[-1].height > _SAME_HEIGHT:
            yield sorted(group, key=lambda line: line.page.number)
            group = []
        group.append(line)
    yield sorted(group, key=lambda line: line.page.number)


def _is_dense(pages: set[int]) -> bool:
    return _ONE_OF * len(pages) > max(pages) - min(pages)


def _on_like_pages(group: _Group, count: int) -> bool:
    """Whether the same words stand outermost on two left or two right pages, as short files have them."""
    if len(group.lines) != 2 or not _MIN_PAGES <= count <= _SHORT_FILE:
        return False
    one, two = group.lines
    return (
        abs(one.page.number - two.page.number) == 2
        and one.piece.lines == two.piece.lines == 1
        and _is_outermost(one)
        and _is_outermost(two)
    )


def _is_outermost(line: _Line) -> bool:
    piece = line.piece
    if line.rule == "header":
        return all(other.y0 >= piece.y0 - _SAME_HEIGHT for other in line.page.pieces)
    return all(other.y1 <= piece.y1 + _SAME_HEIGHT for other in line.page.pieces)


@lru_cache(maxsize=4096)
def _words(text: str) -> str:
    return _NOT_WORDS.sub("", text).casefold()
