"""A chunk: the piece of a document that is embedded, stored and found. Pure values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle on a page, in PDF points (1/72 inch), origin at the top left.

    Attributes:
        page: Page number, counted from 1.
        x0: Left edge.
        y0: Top edge.
        x1: Right edge.
        y1: Bottom edge.
    """

    page: int
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of one document.

    Attributes:
        text: The text itself, without a prompt prefix.
        position: Place in the document, counted from 0, without gaps.
        page_from: First page it stands on, counted from 1.
        page_to: Last page it stands on.
        heading: Path of headings above it, joined by " > "; empty where there is none.
        regions: Where it stands on its pages, one or more rectangles a page.
        tokens: Length in the model's tokens, counted or estimated on the safe side.
    """

    text: str
    position: int
    page_from: int
    page_to: int
    heading: str = ""
    regions: tuple[Region, ...] = ()
    tokens: int = 0
