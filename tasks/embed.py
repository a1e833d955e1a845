"""Embed a bundle's chunks: what is known already is taken from the table or the cache, the rest goes to the nodes.

A document leaves here with a vector for each of its chunks. A chunk that a node calls too long is split, never
cut; one that no node can embed is left out of its document and named there.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext
from prefect.runtime import task_run

from prefect_ollama.blocks.cache import CacheSpec, VectorSalt, shared_cache, vector_keys
from prefect_ollama.blocks.chunk import Chunk
from prefect_ollama.blocks.errors import TextError, TextTooLong
from prefect_ollama.blocks.lance import (
    FAILED,
    PARTIAL,
    Document,
    EmbeddedDocument,
    Store,
    StoreSpec,
    text_hash,
)
from prefect_ollama.blocks.wire.answer import Vectors
from prefect_ollama.blocks.wire.proof import ProvenCluster
from prefect_ollama.tasks.chunking import renumbered, split_chunk
from prefect_ollama.tasks.dispatch import NodeFigures, shared_dispatcher
from prefect_ollama.tasks.parcel import Parcel
from prefect_ollama.tasks.parse import Cut, CutBundle
from prefect_ollama.tasks.planning.source import document_id
from prefect_ollama.tasks.roles import runs_on

RESULTS_KEPT = timedelta(days=7)
"""How long a bundle's result may stand in for the work, as when a run is started again after a crash."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """What a bundle is embedded with, and where its vectors may already be.

    Attributes:
        run_id: The run.
        cluster: The nodes with their proofs.
        store: The table, asked for the vectors of documents that changed; None where there is none yet.
        cache: The cache of vectors; None does without.
    """

    run_id: str
    cluster: ProvenCluster
    store: StoreSpec | None
    cache: CacheSpec | None

    @property
    def salt(self) -> VectorSalt:
        """What makes a text's vector, apart from the text."""
        model, reference = self.cluster.spec.model, self.cluster.reference
        return VectorSalt(
            reference.digest, model.document_prefix, reference.dimension, tuple(model.options.items())
        )


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedBundle:
    """A bundle ready to be stored.

    Attributes:
        number: The bundle's.
        size: Bytes of its files.
        documents: Those that go into the table.
        failed: Manifest rows of those that do not.
        embedded: Chunks that nodes embedded.
        reused: Chunks whose vector was known.
        dropped: Characters that parsing rules dropped (headers, page numbers, …).
        by_node: Chunks by node.
        node_seconds: Seconds of node time.
        worker: Host and process that embedded it.
        nodes: Figures of that process's nodes at its end.
    """

    number: int
    size: int
    documents: tuple[EmbeddedDocument, ...]
    failed: tuple[Document, ...]
    embedded: int
    reused: int
    dropped: int
    by_node: Mapping[str, int]
    node_seconds: float
    worker: str
    nodes: tuple[NodeFigures, ...]


@dataclass
class BundlePolicy(CachePolicy):
    """A bundle's result is the same for the same documents, texts and model; `version` tells apart ours.

    What failed before is never answered from here, because it is tried again to see whether it still fails.
    """

    version: int = 1
    key_storage: Any = None
    isolation_level: Any = None
    lock_manager: Any = None

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Key of a task run, from what goes into it."""
        cut: CutBundle = inputs["parsed"].content
        embedding: Embedding = inputs["embedding"].content
        digest = hashlib.blake2b(digest_size=32)

        def feed(text: str) -> None:
            data = text.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)

        for part in (str(self.version), repr(embedding.salt), embedding.run_id if cut.bundle.again else ""):
            feed(part)
        for each in cut.documents:
            row = each.document
            feed(f"{row.doc_id} {row.content_hash} {row.size} {row.mtime_ns} {row.status}")
            for chunk in each.chunks:
                feed(chunk.text)
        return f"prefect-ollama-{digest.hexdigest()}"


def _name() -> str:
    cut: CutBundle = task_run.parameters["parsed"].content
    return f"embed {cut.chunks} chunks · bundle {cut.bundle.number}"


@task(
    name="embed",
    task_run_name=_name,
    cache_policy=BundlePolicy(),
    cache_expiration=RESULTS_KEPT,
    persist_result=True,
    retries=0,
)
@runs_on("embed")
def embed_bundle(parsed: Parcel[CutBundle], embedding: Parcel[Embedding]) -> Parcel[EmbeddedBundle]:
    """Give every chunk of a bundle its vector.

    Args:
        parsed: The bundle, parsed and cut into chunks.
        embedding: Nodes, table and cache.

    Raises:
        ClusterError: No node worked for too long. What was embedded before is in the cache.
    """
    return Parcel(_embed(parsed.content, embedding.content))


def _embed(cut: CutBundle, embedding: Embedding) -> EmbeddedBundle:
    known = _Known(embedding, cut)
    pending = list(cut.documents)
    tally = _Tally()
    failures: dict[str, TextError] = {}
    while True:
        texts = {chunk.text for each in pending for chunk in each.chunks}
        new = known.complete(sorted(texts - failures.keys()), tally)
        failures |= new
        too_long = {text for text, error in new.items() if isinstance(error, TextTooLong) and len(text) > 1}
        if not too_long:
            break
        pending = [_split(each, too_long) for each in pending]
    documents, failed = [], []
    for each in pending:
        done, row = _assemble(each, known.vectors, failures, tally)
        if done is not None:
            documents.append(done)
        if row is not None:
            failed.append(row)
    chunks = sum(len(each.chunks) for each in documents)
    dispatcher = shared_dispatcher(embedding.cluster, embedding.run_id)
    return EmbeddedBundle(
        number=cut.bundle.number,
        size=sum(file.size for file in cut.bundle.files),
        documents=tuple(documents),
        failed=tuple(failed),
        embedded=sum(tally.by_node.values()),
        reused=chunks - sum(tally.by_node.values()),
        dropped=sum(each.dropped for each in cut.documents),
        by_node=dict(tally.by_node),
        node_seconds=tally.node_seconds,
        worker=f"{os.uname().nodename}:{os.getpid()}",
        nodes=dispatcher.figures().nodes,
    )


@dataclass
class _Tally:
    by_node: Counter[str] = field(default_factory=Counter)
    node_seconds: float = 0.0
    seconds_of: dict[str, float] = field(default_factory=dict)


class _Known:
    """Vectors by text, filled from the table, then the cache, then the nodes."""

    def __init__(self, embedding: Embedding, cut: CutBundle) -> None:
        self.vectors: dict[str, Vectors] = {}
        self._embedding = embedding
        self._cache = None if embedding.cache is None else shared_cache(embedding.cache)
        self._stored: Mapping[str, Vectors] = {}
        if embedding.store is not None and cut.bundle.again:
            ids = [document_id(cut.bundle.source, path) for path in cut.bundle.again]
            self._stored = Store.open(embedding.store).vectors_for(ids)

    def complete(self, texts: Sequence[str], tally: _Tally) -> dict[str, TextError]:
        """Find or make the vectors of texts; return the errors of those that can't have one."""
        missing = [text for text in texts if text not in self.vectors]
        for text in missing:
            if (vector := self._stored.get(text_hash(text))) is not None:
                self.vectors[text] = vector
        missing = [text for text in missing if text not in self.vectors]
        keys = vector_keys(self._embedding.salt, missing)
        if self._cache is not None and missing:
            found = self._cache.get(keys, self._embedding.cluster.reference.dimension)
            hits = [text for text, hit in zip(missing, found.mask, strict=True) if hit]
            self.vectors |= dict(zip(hits, found.vectors, strict=True))
            keys = [key for key, hit in zip(keys, found.mask, strict=True) if not hit]
            missing = [text for text, hit in zip(missing, found.mask, strict=True) if not hit]
        if not missing:
            return {}
        embedded = shared_dispatcher(self._embedding.cluster, self._embedding.run_id).embed(missing)
        good = [index for index in range(len(missing)) if index not in embedded.failures]
        if self._cache is not None and good:
            self._cache.put([keys[index] for index in good], embedded.vectors[good])
        for index in good:
            self.vectors[missing[index]] = embedded.vectors[index]
            tally.seconds_of[missing[index]] = embedded.node_seconds / len(good)
        tally.by_node.update(name for name in embedded.nodes if name)
        tally.node_seconds += embedded.node_seconds
        return {missing[index]: error for index, error in embedded.failures.items()}


def _split(each: Cut, too_long: set[str]) -> Cut:
    parts: list[Chunk] = []
    for chunk in each.chunks:
        parts += split_chunk(chunk) if chunk.text in too_long else [chunk]
    return replace(each, chunks=tuple(renumbered(parts)))


def _assemble(
    each: Cut, vectors: Mapping[str, Vectors], failures: Mapping[str, TextError], tally: _Tally
) -> tuple[EmbeddedDocument | None, Document | None]:
    """A document with the vectors of its chunks, or the manifest row of one that has none."""
    row = each.document
    if row.status == FAILED:
        return None, row
    good = [chunk for chunk in each.chunks if chunk.text in vectors]
    bad = [failures[chunk.text] for chunk in each.chunks if chunk.text in failures]
    if bad:
        reason = f"{len(bad)} of {len(each.chunks)} chunks could not be embedded: {bad[0]}"
        row = replace(
            row, status=PARTIAL if good else FAILED, kind="text", reason=reason, remedy=bad[0].remedy
        )
    if not good:
        return None, row
    row = replace(row, node_seconds=sum(tally.seconds_of.get(chunk.text, 0.0) for chunk in good))
    matrix = np.stack([vectors[chunk.text] for chunk in good])
    return EmbeddedDocument(row, renumbered(good), matrix), None
