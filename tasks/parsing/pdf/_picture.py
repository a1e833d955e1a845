"""A page as a picture, with rectangles marked on it, and where the words of a quote stand on it.

This code runs in the child process, where a hostile file can do no harm. Words are compared letter by letter, so that
neither line ends nor hyphens matter.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, Final

from prefect_ollama.tasks.parsing.errors import Stopped
from prefect_ollama.tasks.parsing.pdf import mupdf
from prefect_ollama.tasks.parsing.pdf.page_text import Pages

# Of a picture: a poster at 150 dpi would take gigabytes.
MAX_PIXELS: Final = 6_000_000

# Amber, as of a marker pen.
COLOUR: Final = (1.0, 0.75, 0.0)
# Text has to stay readable below the mark.
OPACITY: Final = 0.3

# Points around a rectangle, so that its line does not touch the letters.
MARGIN: Final = 2.0


Rectangle = Sequence[float]

# A letter, the number of its line, its rectangle as the page is shown, and the number of its region.
_Letter = tuple[str, int, Any, int]

# Points around a rectangle of a passage: rectangles of letters and of lines differ by rounding.
_SLACK: Final = 1.5

# Letters that have to follow each other in both, where the passage's words and the page's differ. Fewer are there by
# chance: "tion" stands on every page.
_RUN: Final = 8

# Minimum letters at the edge of a page, where a quote may continue on the next page.
_RUN_AT_EDGE: Final = 3

# Letters of a quote that are searched: comparing takes the product of both lengths.
_MAX_LETTERS: Final = 4_000


def page_as_read(pages: Pages, document: Any, number: int) -> Any:
    """Return a page of a document, counted from 0, uncropped and upright as it is when it is read."""
    if not 0 <= number < (count := mupdf.page_count(document)):
        raise Stopped("page", f"it has no page {number + 1}, it has {count}")
    with pages.text(mupdf.raw(document), number):
        pass
    return document[number]


def draw(page: Any, marks: Sequence[Sequence[float]], dpi: int) -> bytes:
    """Return a page as PNG.

    The page is drawn first and the marks on top of that picture, so that neither the page's rotation nor its own
    drawing moves or hides them.

    Args:
        marks: Rectangles (x0, y0, x1, y1) in points from the top left of the page as it is shown.
        dpi: Resolution; lower where the page is so large that the picture would have more than `MAX_PIXELS`.
    """
    width, height = max(page.rect.width, 1.0), max(page.rect.height, 1.0)
    scale = min(dpi / 72, (MAX_PIXELS / (width * height)) ** 0.5)
    matrix = mupdf.pymupdf.Matrix(scale, scale)
    picture = page.get_pixmap(matrix=matrix, alpha=False)
    if not marks:
        return bytes(picture.tobytes("png"))
    with mupdf.pymupdf.open() as canvas:
        sheet = canvas.new_page(width=width, height=height)
        sheet.insert_image(sheet.rect, pixmap=picture)
        for x0, y0, x1, y1 in marks:
            around = mupdf.pymupdf.Rect(x0 - MARGIN, y0 - MARGIN, x1 + MARGIN, y1 + MARGIN) & sheet.rect
            if not around.is_empty:
                sheet.draw_rect(around, color=COLOUR, fill=COLOUR, fill_opacity=OPACITY, width=1)
        return bytes(sheet.get_pixmap(matrix=matrix, alpha=False).tobytes("png"))


def places_of(
    page: Any, regions: Sequence[Rectangle], quoted: Mapping[str, Any]
) -> tuple[list[list[float]], float]:
    """Return rectangles of a quote's words on a page, one for each line, and the share of its letters that they hold.

    Case, accents, spaces, hyphens, ligatures and signs make no difference.

    Args:
        regions: Rectangles (x0, y0, x1, y1) of the passage in points from the top left of the page as it is shown.
            A heading that a passage repeats stands elsewhere; it is marked if the page has these words once.
    """
    wanted = _letters(quoted["text"])[:_MAX_LETTERS]
    before, after = _letters(quoted["before"]), _letters(quoted["after"])
    if not wanted:
        return [], 0.0
    every = _page_letters(page, regions)
    read = [each for each in every if each[3] < len(regions)] or every
    best: list[int] = []
    # Cells of a table may be stored column by column, and its text in the passage goes row by row, in some scripts
    # from right to left.
    by_rows = (sorted(read, key=lambda each: (round(each[2].y1), way * each[2].x0)) for way in (1, -1))
    for order in (read, *by_rows):
        text = "".join(each[0] for each in order)
        found = _found(text, wanted, before, after, repeated=quoted["repeated"])
        if len(found) > len(best):
            best, read = found, order
        if len(found) == len(wanted):
            break
    if not best:
        read, text = every, "".join(each[0] for each in every)
        at = text.find(wanted)
        if len(wanted) >= _RUN and at >= 0 and text.find(wanted, at + 1) < 0:
            best = list(range(at, at + len(wanted)))
    return _lines([read[at] for at in best]), len(best) / len(wanted)


def _letters(text: str) -> str:
    """Return the letters and digits of a text as they are compared: NFKD without marks, no case."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(each for each in decomposed if each.isalnum())


def _page_letters(page: Any, regions: Sequence[Rectangle]) -> list[_Letter]:
    """Return the letters of a page in the order of the regions, at the end those that are in none."""
    found: list[_Letter] = []
    number = 0
    for block in page.get_text("rawdict", flags=mupdf.pymupdf.TEXT_PRESERVE_LIGATURES)["blocks"]:
        for line in block.get("lines", ()):
            number += 1
            for character in (each for span in line["spans"] for each in span["chars"]):
                place = mupdf.pymupdf.Rect(character["bbox"]) * page.rotation_matrix
                x, y = (place.x0 + place.x1) / 2, (place.y0 + place.y1) / 2
                region = next(
                    (
                        at
                        for at, (x0, y0, x1, y1) in enumerate(regions)
                        if x0 - _SLACK <= x <= x1 + _SLACK and y0 - _SLACK <= y <= y1 + _SLACK
                    ),
                    len(regions),
                )
                found += [(letter, number, place, region) for letter in _letters(character["c"])]
    return sorted(found, key=lambda each: each[3])


def _found(text: str, wanted: str, before: str, after: str, *, repeated: bool) -> list[int]:
    """Return the places of a text at which letters of a quote stand."""
    at = text.find(wanted)
    if at >= 0 and text.find(wanted, at + 1) < 0 and not repeated:
        return list(range(at, at + len(wanted)))
    # The quote stands there several times, goes on to another page, or the page spells something another way.
    whole, start, end = before + wanted + after, len(before), len(before) + len(wanted)
    found: list[int] = []
    for here, there, length in SequenceMatcher(None, whole, text, autojunk=False).get_matching_blocks():
        at_edge = there == 0 or there + length == len(text)
        if length >= (_RUN_AT_EDGE if at_edge else min(_RUN, len(whole))):
            first, last = max(here, start), min(here + length, end)
            found += range(there + first - here, there + last - here)
    return found


def _lines(letters: Sequence[_Letter]) -> list[list[float]]:
    """Return one rectangle for the letters of each line."""
    found: dict[int, Any] = {}
    for _, line, place, _ in letters:
        found[line] = found[line] | place if line in found else place
    return [[place.x0, place.y0, place.x1, place.y1] for place in found.values()]
