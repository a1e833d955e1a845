"""Documents with made-up chunks and vectors for tests of the store: the same seed gives the same rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress

import numpy as np
import pyarrow as pa

from prefect_ollama.blocks.documents import Document, EmbeddedDocument, Identity
from prefect_ollama.blocks.documents.chunk import Chunk, Region
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import Store

DIMENSION = 8
IDENTITY = Identity(
    model="all-minilm",
    digest="sha256:1",
    dimension=DIMENSION,
    document_prefix="passage: ",
    options=(("num_ctx", "256"),),
    chunker="1 target=200",
)


def vector_of(text: str, dimension: int = DIMENSION) -> np.ndarray:
    """Return the one vector that this text has: unit length, drawn from the text's hash."""
    seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8])
    drawn = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return drawn / np.linalg.norm(drawn)


def document(name: str, source: str = "papers", **changes: object) -> Document:
    doc_id = hashlib.blake2b(
        f"{source}\n{name}".encode("utf-8", "surrogateescape"), digest_size=16
    ).hexdigest()
    values = {"content_hash": "c0", "size": 10, "mtime_ns": 20, "pages": 3, "title": f"On {name}"}
    return Document(doc_id, source, name, **{**values, **changes})  # type: ignore[arg-type]


def embedded(
    name: str,
    texts: Iterable[str],
    source: str = "papers",
    content: str = "c0",
    dimension: int = DIMENSION,
    **changes: object,
) -> EmbeddedDocument:
    texts = list(texts)
    chunks = [
        Chunk(
            text,
            position,
            page_from=position + 1,
            page_to=position + 1,
            heading=f"Part {position}",
            regions=(Region(position + 1, 1.0, 2.0, 3.0, 4.0),) * (position % 3),
            tokens=len(text.split()),
        )
        for position, text in enumerate(texts)
    ]
    vectors = np.array([vector_of(text, dimension) for text in texts], np.float32)
    return EmbeddedDocument(
        document(name, source, content_hash=content, **changes),
        chunks,
        vectors.reshape(len(texts), dimension),
    )


def sentences(name: str, count: int) -> list[str]:
    return [f"{name} says thing {number}" for number in range(count)]


def chunk_rows(store: Store) -> list[dict[str, object]]:
    """Return all rows of the chunk table in a fixed order, without what differs from run to run."""
    table: pa.Table = store._chunks.table.to_arrow().drop_columns(["run_id", "stored_at"])
    return table.sort_by("id").to_pylist()


def document_rows(store: Store) -> list[dict[str, object]]:
    """Return all rows of the manifest in a fixed order, without what differs from run to run."""
    table: pa.Table = store._manifest.rows().drop_columns(["run_id", "updated_at"])
    return table.sort_by("doc_id").to_pylist()


def undoable(store: Store) -> set[str]:
    """Names of the runs that can be rolled back, alone or with later ones."""
    names = set()
    for run in store.runs():
        with suppress(TableError):
            names |= {run.run_id} & {*store.preview_roll_back(run.run_id, including_later=True).runs}
    return names
