"""What goes into a table and comes out of it: documents, their chunks with vectors, and hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.documents.chunk import Chunk, Region

STORED: Final = "stored"
PARTIAL: Final = "partial"
FAILED: Final = "failed"
STALE: Final = "stale"

IN_TABLE: Final = (STORED, PARTIAL)


@dataclass(frozen=True, slots=True)
class Document:
    """One row of the manifest.

    Attributes:
        doc_id: Key of the document, the same for the same file of the same source.
        source: Name of the folder, list or glob it came from.
        path: Path within the source, with `/`.
        status: `stored` (all of it is in the chunk table), `partial` (what could be read is), `failed`
            (nothing is), or `stale` (an interrupted run left it in doubt: process it again).
        size: Bytes.
        mtime_ns: Time of the last change, in nanoseconds since 1970.
        content_hash: Hash of the file's bytes.
        kind: Short stable word for the failure ("encrypted", "junk", …), else empty.
        reason: Why it failed or is partial, for people.
        remedy: What to do about it.
        pages: Pages in the file.
        chunks: Rows in the chunk table; `Store.write` counts them.
        tokens: Tokens in those; `Store.write` counts them.
        title: From the file's metadata, as are `author`, `created` and `modified`.
        author: Author, empty where unknown.
        created: When the document was made, or None.
        modified: When the document was last changed, or None.
        node_seconds: Time that nodes spent on its chunks, in seconds.
        parser_version: Version of the parser that read it; 0 where it is not known.
        chunker_version: Version of the chunker that cut it; 0 where it is not known.
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
    parser_version: int = 0
    chunker_version: int = 0
    run_id: str = ""
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EmbeddedDocument:
    """A document with its chunks and their vectors.

    Attributes:
        document: Its manifest row.
        chunks: All its chunks, in order of position.
        vectors: float32, shape (chunks, dimension), row by row the vectors of the chunks.
    """

    document: Document
    chunks: Sequence[Chunk]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a passage stands.

    Attributes:
        source: The document's source.
        path: The document's path within its source.
        page_from: First page, counted from 1.
        page_to: Last page.
    """

    source: str
    path: str
    page_from: int
    page_to: int


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage that a search found. It is one hit also where it stands in several places.

    Attributes:
        text: The passage.
        path: The document's path within its source.
        source: The document's source.
        page_from: First page, counted from 1.
        page_to: Last page.
        heading: Headings above the passage.
        score: The larger the better: by the mode of the search cosine similarity, BM25, or both fused, less what a
            passage close to a better one on the same page loses.
        doc_id: The document.
        chunk_id: The chunk.
        position: The chunk's place in the document, counted from 0.
        regions: Rectangles on the pages.
        title: The document's title; empty where it is not known.
        page_label_from: Number that is printed on the first page ("iv", "F-3"); empty where it is not known.
        page_label_to: Number that is printed on the last page.
        also_in: Other places with the same text, in order of source, path and page; the first hundred.
        copies: How many other places there are.
        vector_score: Cosine similarity; None where the passage was not found by vector.
        text_score: BM25; None where it was not found by words.
        around: On request the chunks around it or of its whole section, itself among them, in reading order.
        embedded_text: What was embedded in place of the text; empty where that is the text.
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
    also_in: tuple[Place, ...] = ()
    copies: int = 0
    vector_score: float | None = None
    text_score: float | None = None
    around: tuple[Chunk, ...] = ()
    embedded_text: str = ""
