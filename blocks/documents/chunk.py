"""A chunk: the part of a document that is embedded, stored and found."""

from dataclasses import dataclass


# As MuPDF counts, so that a rectangle can be drawn on a picture of the page without a conversion.
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
        text: Its text, without a prompt prefix.
        position: Number in the document, counted from 0, without gaps.
        page_from: Its first page, counted from 1.
        page_to: Its last page.
        heading: The headings above it, joined by " > "; empty if there are none.
        regions: Its rectangles on the pages, one or more for each page.
        tokens: Length in the model's tokens: counted, or estimated and then never too low.
        embedded_text: The text that is embedded instead, without a prompt prefix; empty if `text` is embedded.
        page_label_from: Number printed on the first page ("iv", "F-3"); empty if unknown.
        page_label_to: Number printed on the last page.
    """

    text: str
    position: int
    page_from: int
    page_to: int
    heading: str = ""
    regions: tuple[Region, ...] = ()
    # Nodes refuse a text that is longer than the context, so an estimate must not be too low.
    tokens: int = 0
    embedded_text: str = ""
    page_label_from: str = ""
    page_label_to: str = ""

    @property
    def to_embed(self) -> str:
        """The text that is embedded, without a prompt prefix."""
        return self.embedded_text or self.text
