"""A page as a picture, with rectangles marked on it. This runs in the child, where a hostile file does no harm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from prefect_ollama.tasks.parsing.errors import Stopped
from prefect_ollama.tasks.parsing.pdf import mupdf

# Of a picture: a poster at 150 dpi would take gigabytes.
MAX_PIXELS: Final = 6_000_000

# Amber, as of a marker pen.
COLOUR: Final = (1.0, 0.75, 0.0)
# Text has to stay readable below the mark.
OPACITY: Final = 0.3

# Points around a rectangle, so that its line does not touch the letters.
MARGIN: Final = 2.0


def numbered(document: Any, number: int) -> Any:
    """Return a page of a document, counted from 0.

    Raises:
        Stopped: There is no such page.
    """
    if not 0 <= number < document.page_count:
        raise Stopped("page", f"it has no page {number + 1}, it has {document.page_count}")
    return document[number]


def draw(document: Any, number: int, marks: Sequence[Sequence[float]], dpi: int) -> bytes:
    """Return a page as PNG.

    The page is drawn first and the marks on top of that picture, so that neither the page's rotation nor its own
    drawing moves or hides them.

    Args:
        document: The open file.
        number: The page, counted from 0.
        marks: Rectangles (x0, y0, x1, y1) in points from the top left of the page as it is shown.
        dpi: Resolution; lower where the page is so large that the picture would have more than `MAX_PIXELS`.

    Raises:
        Stopped: There is no such page.
    """
    page = numbered(document, number)
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
