"""Tables for tests of questions, made from texts without parsing and without a run of Prefect's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prefect_ollama.blocks.documents import EmbeddedDocument, Identity
from prefect_ollama.blocks.documents.chunk import Chunk
from prefect_ollama.blocks.documents.identity import context_options
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.nodes.verification import verify_cluster
from prefect_ollama.blocks.resolve import cluster_by_address
from tests.flow_samples import MODEL, PREFIX, QUERY_PREFIX
from tests.nodes import Node, expected_vector
from tests.store_samples import document


def identity_of(node: Node) -> Identity:
    """What a table is that an ingest over this node would make."""
    found = cluster_by_address(node.url, MODEL)
    assert found is not None
    proven = asyncio.run(verify_cluster(found.spec))
    known = proven.reference
    context = context_options(None, proven.spec.model.num_ctx)
    return Identity(
        MODEL, known.digest, known.dimension, PREFIX, QUERY_PREFIX, context, "1", fingerprint=known
    )


def embedded_document(
    path: str, texts: Sequence[str], *, source: str = "papers", dimension: int = 768, **changes: Any
) -> EmbeddedDocument:
    """A document of these passages, one a page, with the vectors that simulated nodes give."""
    chunks = [
        Chunk(text, place, place + 1, place + 1, "Heading", (), len(text.split()))
        for place, text in enumerate(texts)
    ]
    vectors = np.array([expected_vector(PREFIX + text, dimension) for text in texts], np.float32)
    return EmbeddedDocument(document(path, source, **changes), chunks, vectors.reshape(len(texts), dimension))


def write_table(
    place: Path, identity: Identity, documents: Mapping[str, Sequence[str]], *, source: str = "papers"
) -> StoreSpec:
    """Write a table `documents` of these documents: passages by path."""
    spec = StoreSpec(str(place), "documents")
    store = Store.open(spec, identity=identity, create=True)
    store.begin_run(f"write {len(documents)} of {source}", source)
    store.write([embedded_document(path, texts, source=source) for path, texts in documents.items()])
    store.end_run()
    return spec
