"""Documents as a table stores them, with chunks and vectors, and the hits of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.documents.chunk import Chunk, Region

# Status of a document, see `Document.status`. Tables store these words, so they must not change.
STORED: Final = "stored"
PARTIAL: Final = "partial"
FAILED: Final = "failed"
STALE: Final = "stale"

# Status of documents that have chunks in the table.
IN_TABLE: Final = (STORED, PARTIAL)


@dataclass(frozen=True, slots=True)
class Document:
    """One row of the manifest.

    Attributes:
        doc_id: Key of the document, which a file of a source keeps.
        source: Name of its folder, list or glob pattern.
        path: Path within the source, with `/`.
        status: `stored` (all of it is in the chunk table), `partial` (its readable part is), `failed` (nothing is), or
            `stale` (an interrupted run may have left it incomplete, so it must be processed again).
        size: Bytes.
        mtime_ns: Time of the last change, in nanoseconds since 1970.
        content_hash: Hash of the file's bytes.
        kind: Short stable word for the failure ("encrypted", "junk", …); empty without one.
        reason: Why it failed or is partial, for people.
        remedy: The next step for the user.
        pages: Number of pages.
        chunks: Number of rows in the chunk table; `Store.write` sets it.
        tokens: Tokens of these rows; `Store.write` sets it.
        title: Title, from the metadata of the file, as are `author`, `created` and `modified`.
        author: Author; empty if unknown.
        created: When the document was made; None if unknown.
        modified: When the document was last changed; None if unknown.
        node_seconds: Seconds that nodes needed for its chunks.
        parser_version: Version of the parser that read it; 0 if unknown.
        chunker_version: Version of the chunker that cut it; 0 if unknown.
        run_id: The run that wrote this row; the store sets it.
        updated_at: When this row was written; the store sets it.
    """

    doc_id: str
    source: str
    path: str
    status: str = STORED
    size: int = 0
    mtime_ns: int = 0
    content_hash: str = ""
    kind: str = ""
    reason: str = ""
    remedy: str = ""
    pages: int = 0
    chunks: int = 0
    tokens: int = 0
    title: str = ""
    author: str = ""
    created: datetime | None = None
    modified: datetime | None = None
    node_seconds: float = 0.0
    # By these `ingest --reread` finds documents that another version read or cut.
    parser_version: int = 0
    chunker_version: int = 0
    # Callers leave these out: only the store knows the open run, and the time of the commit.
    run_id: str = ""
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EmbeddedDocument:
    """A document with its chunks and their vectors.

    Attributes:
        document: Its manifest row.
        chunks: All its chunks, in order of position.
        vectors: float32, shape (chunks, dimension), in the order of the chunks.
    """

    document: Document
    chunks: Sequence[Chunk]
    vectors: NDArray[np.float32]


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
