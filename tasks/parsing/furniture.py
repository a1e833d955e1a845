"""What repeats on pages and is no part of the text: running heads and feet, and page numbers."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from prefect_ollama.tasks.parsing.pieces import SCALE, Piece, RawPage

# How much of a page at its top and bottom is searched, and for how many pieces.
_BAND: Final = 0.13
_PIECES: Final = 3
# On how many pages a line must stand at the same height to be one that repeats.
_TIMES: Final = 3
# And on one of so many from the first of them to the last: the same line of code now and then at a foot is text.
_ONE_OF: Final = 6
_SAME_HEIGHT: Final = 40  # tenths of a point
_DIGITS: Final = re.compile(r"\d+")
_NOT_WORDS: Final = re.compile(r"[\W_]+")
_NUMBER: Final = re.compile(
    r"(?:page|seite|p\.|pág\.|página|стр\.|第)?[\s\-–—·|\[(]*(\d{1,5}|[ivxlc]{1,8})[\s\-–—·|\])]*(?:(?:of|/|von|sur|de|из)\s*\d{1,5}|頁|页|ページ)?",
    re.IGNORECASE,
)
_ROMAN: Final = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}


def drop_furniture(pages: list[RawPage], body_size: int, titles: Iterable[tuple[str, int]]) -> Counter[str]:
    """Take running heads, feet and page numbers from the pages, in place; give the characters dropped.

    Args:
        pages: All pages in order.
        body_size: Size of the type that most of the text is set in.
        titles: Title of the document and of its chapters as the file names them, each with its page counted from
            0; a running head that repeats one on a later page is known by that, even if it stands on one page only.
    """
    # The page after which words are known to be a title, so that they are a running head.
    known: dict[str, int] = {}
    for title, number in titles:
        known.setdefault(_words(title), number)
    heads: defaultdict[tuple[str, str], list[tuple[RawPage, Piece]]] = defaultdict(list)
    titled: defaultdict[str, list[tuple[RawPage, Piece]]] = defaultdict(list)
    numbers: defaultdict[tuple[str, int], list[tuple[RawPage, Piece]]] = defaultdict(list)
    for page in pages:
        for piece in page.pieces:
            if piece.size > 1.15 * body_size:
                known[_words(piece.text)] = min(known.get(_words(piece.text), page.number), page.number - 1)
        for rule, piece in _candidates(page):
            text = " ".join(piece.text.split())
            words = _words(text)
            if (
                words
                and piece.size <= body_size
                and page.number > known.get(words, page.number)
                and _is_outermost(rule, piece, page)
            ):
                titled[rule].append((page, piece))
                continue
            match = _NUMBER.fullmatch(text)
            if match is not None:
                # A page number goes up by one with every page; the place it starts from is the book's own.
                numbers[rule, _value(match[1]) - page.number].append((page, piece))
            if piece.size > 1.15 * body_size:
                heads[rule, text].append((page, piece))  # A chapter's own title differs in its number only.
            elif any(character.isalpha() for character in text):
                heads[rule, _DIGITS.sub("#", text)].append((page, piece))
    dropped: Counter[str] = Counter()
    gone: defaultdict[int, set[int]] = defaultdict(set)
    few = min(_TIMES, max(2, len(pages)))
    for (_, start), found in numbers.items():
        if len(found) >= few or (start == 1 and len(pages) < _TIMES):
            _drop("page-number", found, gone, dropped)
    for rule, found in titled.items():
        _drop(rule, found, gone, dropped)
    for (rule, _), found in heads.items():
        for same in _at_one_height(found):
            if (len(same) >= few and _is_dense(same)) or (len(same) == 2 and _on_like_pages(rule, same)):
                _drop(rule, same, gone, dropped)
    for page in pages:
        if page.number in gone:
            page.pieces = [piece for piece in page.pieces if id(piece) not in gone[page.number]]
    return dropped


def _candidates(page: RawPage) -> Iterator[tuple[str, Piece]]:
    """The first pieces within the top of the page and the last ones within its bottom, of two lines at most."""
    pieces = page.pieces
    top, bottom = page.height * _BAND * SCALE, page.height * (1 - _BAND) * SCALE
    high = [piece for piece in pieces if piece.y1 <= top and piece.lines <= 2 and not piece.table]
    low = [piece for piece in pieces if piece.y0 >= bottom and piece.lines <= 2 and not piece.table]
    if len(high) > _PIECES:
        high = sorted(high, key=lambda piece: piece.y0)[:_PIECES]
    if len(low) > _PIECES:
        low = sorted(low, key=lambda piece: -piece.y1)[:_PIECES]
    for piece in high:
        yield "header", piece
    for piece in low:
        yield "footer", piece


def _at_one_height(found: list[tuple[RawPage, Piece]]) -> Iterator[list[tuple[RawPage, Piece]]]:
    """Divide by height on the page, measured from the nearer edge so that unlike pages agree."""
    if len(found) < 2:
        return
    found.sort(key=lambda item: item[1].y0)
    group = [found[0]]
    for item in found[1:]:
        if item[1].y0 - group[-1][1].y0 > _SAME_HEIGHT:
            yield group
            group = []
        group.append(item)
    yield group


def _is_dense(found: list[tuple[RawPage, Piece]]) -> bool:
    numbers = [page.number for page, _ in found]
    return _ONE_OF * len(numbers) > max(numbers) - min(numbers)


def _on_like_pages(rule: str, found: list[tuple[RawPage, Piece]]) -> bool:
    """Whether the same words stand outermost on two left or two right pages, as short files have them."""
    (one, first), (two, second) = found
    return (
        (one.number - two.number) % 2 == 0
        and first.lines == second.lines == 1
        and first.text.split() == second.text.split()
        and _is_outermost(rule, first, one)
        and _is_outermost(rule, second, two)
    )


def _is_outermost(rule: str, piece: Piece, page: RawPage) -> bool:
    if rule == "header":
        return all(other.y0 >= piece.y0 - _SAME_HEIGHT for other in page.pieces)
    return all(other.y1 <= piece.y1 + _SAME_HEIGHT for other in page.pieces)


@lru_cache(maxsize=4096)
def _words(text: str) -> str:
    return _NOT_WORDS.sub("", text).casefold()


def _drop(
    rule: str, found: list[tuple[RawPage, Piece]], gone: defaultdict[int, set[int]], dropped: Counter[str]
) -> None:
    for page, piece in found:
        if id(piece) not in gone[page.number]:
            gone[page.number].add(id(piece))
            dropped[rule] += len("".join(piece.text.split()))


def _value(digits: str) -> int:
    if digits.isdigit():
        return int(digits)
    values = [_ROMAN[letter] for letter in digits.lower()]
    return sum(
        -value if value < following else value
        for value, following in zip(values, [*values[1:], 0], strict=True)
    )
