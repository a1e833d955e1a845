"""A passage that a search found, and its places."""

from dataclasses import dataclass

from prefect_ollama.blocks.documents.chunk import Chunk, Region


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a passage: source, path within it, and pages, counted from 1."""

    source: str
    path: str
    page_from: int
    page_to: int


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage that a search found. A text in several places is one hit.

    Attributes:
        text: The passage.
        path: The document's path within its source.
        source: The document's source.
        page_from: First page, counted from 1.
        page_to: Last page.
        heading: Headings above the passage.
        score: The larger the better: cosine similarity, BM25, or both fused, by the mode of the search; lower for a
            passage that is close to a better one on the same page.
        doc_id: Key of the document.
        chunk_id: Key of the chunk.
        position: Number of the chunk in the document, counted from 0.
        regions: Rectangles on the pages.
        title: The document's title; empty if unknown.
        page_label_from: Number printed on the first page ("iv", "F-3"); empty if unknown.
        page_label_to: Number printed on the last page.
        also_in: Other places of the text, in order of source, path and page; the first hundred.
        copies: Number of other places.
        vector_score: Cosine similarity; None if the search by vector did not find it.
        text_score: BM25; None if the search by words did not find it.
        around: On request, the chunks around it or of its section, with itself, in reading order.
        embedded_text: The text that was embedded instead; empty if `text` was embedded.
    """

    text: str
    path: str
    source: str
    page_from: int
    page_to: int
    heading: str
    score: float
    doc_id: str
    chunk_id: str
    position: int
    regions: tuple[Region, ...] = ()
    title: str = ""
    page_label_from: str = ""
    page_label_to: str = ""
    # The number is kept apart, because the list is cut (`lance._search.MAX_PLACES`).
    also_in: tuple[Place, ...] = ()
    copies: int = 0
    vector_score: float | None = None
    text_score: float | None = None
    around: tuple[Chunk, ...] = ()
    embedded_text: str = ""
