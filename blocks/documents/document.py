"""Documents as a table stores them, with chunks and vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.documents.chunk import Chunk

# Results that Prefect keeps from earlier versions name these here in their pickles.
from prefect_ollama.blocks.documents.hit import Hit as Hit
from prefect_ollama.blocks.documents.hit import Place as Place

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
