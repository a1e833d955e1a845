"""The numbers of a document's pages among the numbers at their tops and bottoms."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from prefect_ollama.tasks.parsing.pdf._margin_lines import MIN_PAGES, TITLE_SIZE, MarginLine, is_dense

# Numbers alone that are greater than this and than twice the number of pages may be those of years or invoices.
_MAX_NUMBER: Final = 999


def find_page_numbers(lines: list[MarginLine], count: int, body_size: int) -> dict[int, str]:
    """Find the lines whose number is that of their page, by `id()`, each with the first line of its row of numbers.

    A page number goes up by one with every page; where it starts from is the book's own.
    """
    by_offset: defaultdict[int, list[MarginLine]] = defaultdict(list)
    for line in lines:
        if line.number is not None:
            by_offset[line.number.value - line.page.number].append(line)
    found: dict[int, str] = {}
    for offset, same in by_offset.items():
        pages = {line.page.number for line in same}
        if len(pages) >= MIN_PAGES:
            if not is_dense(pages):
                continue
        elif offset != 1 or count >= MIN_PAGES:
            continue
        like = next((line for line in same if line.number and not line.number.rest), same[0]).text
        for line in same:
            # In a file of one or two pages, a number alone may be anything unless both pages have theirs.
            certain = len(pages) >= 2
            if _is_page_number(line, count, certain, body_size):
                found[id(line)] = like
            elif certain and line.number is not None and not line.number.rest:
                line.piece.margin = line.piece.size <= TITLE_SIZE * body_size
    return found


def _is_page_number(line: MarginLine, count: int, certain: bool, body_size: int) -> bool:
    """Whether a number that goes up with the pages is their number, and not one of an invoice, a month or a year."""
    number = line.number
    if number is None:
        return False
    if number.labelled:
        return True
    if number.of:
        return number.value <= number.of <= count + MIN_PAGES
    if number.rest:
        return 1 <= number.value <= count + MIN_PAGES
    # The number that stands large above a page is its title.
    return (
        certain and number.value <= max(_MAX_NUMBER, 2 * count) and line.piece.size <= TITLE_SIZE * body_size
    )
