"""Running heads and feet, and page numbers: lines that repeat and have no content of their page.

A line is left out only if its text is known from another place: page numbers from the number of the page, titles from
the heading that they repeat, and any other line from its first occurrence, which stays. Text that distinguishes pages,
such as the number of an invoice, stays on every page.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from prefect_ollama.tasks.parsing._split_between import split_between
from prefect_ollama.tasks.parsing.dropped import Dropped
from prefect_ollama.tasks.parsing.pdf._layout import RawPage, letters_and_digits
from prefect_ollama.tasks.parsing.pdf._margin_lines import (
    MIN_PAGES,
    SAME_HEIGHT,
    TITLE_SIZE,
    MarginLine,
    at_one_height,
    find_page_numbers,
    is_dense,
    is_outermost,
    margin_lines,
)
from prefect_ollama.tasks.parsing.pdf._page_number import printed_number

# A line is common if it is on this part of the pages with a repeated line at its height. Such a line does not
# distinguish pages.
_COMMON: Final = 0.8
# A running head must also be on this part of all pages: the same first line of three tables is not a running head.
_MIN_SHARE: Final = 0.1
# A title with fewer letters and digits would be found by chance: a large initial, a year.
_MIN_TITLE: Final = 4
# Part of the words that two lines share at least if they are one line with another name in it.
_ALIKE: Final = 0.5
# In a file with no more pages, a head may be there only twice, on two left or two right pages.
_SHORT_FILE: Final = 5


@dataclass(slots=True)
class _Group:
    """Lines with the same text at one height."""

    lines: list[MarginLine]
    pages: set[int]

    @property
    def height(self) -> int:
        return self.lines[0].height


def drop_running_heads(
    pages: list[RawPage], body_size: int, titles: Iterable[tuple[str, int]], dropped: Dropped
) -> None:
    """Remove running heads, feet and page numbers from the pages, in place, and mark those that stay.

    No page loses all of its text.

    Args:
        titles: Title of the document and of its chapters as the file names them, each with its page counted from
            0; a running head that repeats one on a later page is known by that.
    """
    lines = [line for page in pages for line in margin_lines(page)]
    numbers = find_page_numbers(lines, len(pages), body_size)
    doomed: dict[int, tuple[str, str]] = {}  # by `id()` of the piece: the rule and the listed text
    heads: list[MarginLine] = []
    for line in lines:
        if id(line) not in numbers:
            heads.append(line)
        elif line.number is not None and line.number.rest:
            line.text = line.number.rest
            heads.append(line)
        else:
            doomed[id(line.piece)] = "page-number", numbers[id(line)]
        if id(line) in numbers and line.number is not None:
            line.page.label = printed_number(line.piece.text, line.number.value)
    shown = _large(pages, body_size)
    doomed |= {id(line.piece): (line.rule, line.text) for line in _titled(heads, shown, body_size, titles)}
    for group, common in _repeated(heads, len(pages)):
        rest = [line for line in group.lines if id(line.piece) not in doomed]
        for i, line in enumerate(rest):
            small = line.piece.size <= TITLE_SIZE * body_size
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
                if rule != "page-number":
                    page.heads.append(like)
        page.pieces = left


def _large(pages: list[RawPage], body_size: int) -> dict[str, int]:
    """Return the words in large type, each with its first page."""
    found: dict[str, int] = {}
    for page in pages:
        for piece in page.pieces:
            if piece.size > TITLE_SIZE * body_size:
                found.setdefault(_words(piece.text), page.number)
    return found


def _titled(
    lines: list[MarginLine], shown: dict[str, int], body_size: int, titles: Iterable[tuple[str, int]]
) -> list[MarginLine]:
    """Return the lines that repeat a title of a page before, at a height where at least two pages have such lines."""
    named: dict[str, int] = {}
    for title, number in titles:
        named.setdefault(_words(title), number)
    found: list[MarginLine] = []
    seen: set[str] = set()
    for line in lines:
        words = _words(line.text)
        if len(words) < _MIN_TITLE or words.isdecimal() or line.piece.size > body_size:
            continue
        number = line.page.number
        if number > shown.get(words, number) and is_outermost(line):
            found.append(line)
        elif number >= named.get(words, number + 1) and is_outermost(line):
            # The file names this title, and the pages may not show it: the first line that does stays.
            if words in seen:
                found.append(line)
            seen.add(words)
    return [
        line
        for rule in ("header", "footer")
        for group in at_one_height([line for line in found if line.rule == rule])
        if len({line.page.number for line in group}) > 1
        for line in group
    ]


def _repeated(lines: list[MarginLine], count: int) -> Iterator[tuple[_Group, bool]]:
    """Return the groups of repeated lines, each with whether the line is the same on all its pages."""
    by_text: defaultdict[tuple[str, str], list[MarginLine]] = defaultdict(list)
    for line in lines:
        by_text[line.rule, line.text].append(line)
    by_rule: defaultdict[str, list[_Group]] = defaultdict(list)
    for (rule, text), same in by_text.items():
        if len(same) < 2 or not any(character.isalpha() for character in text):
            continue
        for found in at_one_height(same):
            group = _Group(found, {line.page.number for line in found})
            if (len(group.pages) >= MIN_PAGES and is_dense(group.pages)) or _on_like_pages(group, count):
                by_rule[rule].append(group)
    for groups in by_rule.values():
        groups.sort(key=lambda group: group.height)
        for beside in split_between(groups, lambda above, group: group.height - above.height > SAME_HEIGHT):
            pages = set().union(*(group.pages for group in beside))
            for group in beside:
                enough = len(group.pages) >= _MIN_SHARE * count
                yield group, enough and _is_common(group, beside, pages)


def _is_common(group: _Group, beside: list[_Group], pages: set[int]) -> bool:
    """Return whether most of the pages with a line at this height have this one, or most left or right pages.

    `beside` are all groups at this height, and `pages` their pages.
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


def _is_variant(one: MarginLine, other: MarginLine) -> bool:
    """Return whether two lines are one with another name or number in it, as heads of left and right pages are not."""
    words = [{word for word in line.text.casefold().split() if len(word) > 2} for line in (one, other)]
    shared = len(words[0] & words[1])
    # Heads of left and right pages may share a word: the name of a product and the title of a chapter about it.
    alike = 0 < shared >= _ALIKE * min(map(len, words))
    return alike and abs(one.piece.x0 - other.piece.x0) <= SAME_HEIGHT


def _on_like_pages(group: _Group, count: int) -> bool:
    """Return whether the same words stand outermost on two left or two right pages, as short files have them."""
    if len(group.lines) != 2 or not MIN_PAGES <= count <= _SHORT_FILE:
        return False
    one, two = group.lines
    return (
        abs(one.page.number - two.page.number) == 2
        and one.piece.lines == two.piece.lines == 1
        and is_outermost(one)
        and is_outermost(two)
    )


# The same few lines are compared on every page.
_words: Final = lru_cache(maxsize=4096)(letters_and_digits)
