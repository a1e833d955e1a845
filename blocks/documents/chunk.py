"""A chunk: the piece of a document that is embedded, stored and found. Pure values."""

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
        embedded_text: What is embedded in place of the text, without a prompt prefix; empty where that is the text.
        page_label_from: Number that is printed on the first page ("iv", "F-3"); empty where it is not known.
        page_label_to: Number that is printed on the last page.
    """

    text: str
    position: int
    page_from: int
    page_to: int
    heading: str = ""
    regions: tuple[Region, ...] = ()
    tokens: int = 0
    embedded_text: str = ""
    page_label_from: str = ""
    page_label_to: str = ""

    @property
    def to_embed(self) -> str:
        """The text that is embedded, without a prompt prefix."""
        return self.embedded_text or self.text
