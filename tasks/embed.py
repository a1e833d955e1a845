"""Embed the chunks of a bundle: known vectors come from the table or the cache, and new vectors from the nodes.

Each chunk gets a vector. A chunk that is too long for a node is split, and never cut. A chunk that no node can embed is
left out, and its document names it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.runtime import task_run

from prefect_ollama.blocks.documents import FAILED, PARTIAL, Chunk, Document, EmbeddedDocument
from prefect_ollama.blocks.errors import TextError, TextTooLong
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.chunking import renumbered, split_chunk
from prefect_ollama.tasks.dispatch import NodeStats
from prefect_ollama.tasks.embedding import KnownVectors, VectorSources
from prefect_ollama.tasks.monitoring import process_name, publishing_stats
from prefect_ollama.tasks.parse import ChunkedBundle, ChunkedDocument, LeftOut
from prefect_ollama.tasks.prefect_state import PERSISTED, Opaque, result_key, runs_on
from prefect_ollama.tasks.reporting import RunStatistics


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedBundle:
    """A bundle ready to be stored.

    Attributes:
        number: Number of the bundle.
        documents: The documents to store.
        failed: Manifest rows of the documents that failed.
        statistics: The counters, with the bytes of all files.
        left_out: The parts of files that are not in their chunks, by path.
        by_node: Chunks by node.
        worked: When nodes had work for it, see `KnownVectors`.
        worker: Host and process that embedded it.
        nodes: Statistics of the nodes in that process when the bundle was done.
    """

    number: int
    documents: tuple[EmbeddedDocument, ...]
    failed: tuple[Document, ...]
    statistics: RunStatistics
    left_out: Mapping[str, LeftOut]
    by_node: Mapping[str, int]
    worked: tuple[float, float] | None
    worker: str
    nodes: tuple[NodeStats, ...]


@dataclass
class BundlePolicy(CachePolicy):
    """The key of a bundle's result: documents, texts and model.

    Changed files and files that failed before never use the result of another run. Without a cache of vectors, no
    results are used.
    """

    # Raise it when the same input gives another result, so that results of earlier versions are not used.
    version: int = 5

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Return the key of a task run, from its arguments; None to run it in any case."""
        chunked: ChunkedBundle = inputs["parsed"].content
        embedding: VectorSources = inputs["embedding"].content
        # A user who wants no cache wants every text embedded in this run.
        if embedding.cache is None:
            return None
        return result_key(self._parts(chunked, embedding))

    def _parts(self, chunked: ChunkedBundle, embedding: VectorSources) -> Iterator[str]:
        yield str(self.version)
        yield repr(embedding.salt)
        yield embedding.run_id if chunked.bundle.again else ""
        for each in chunked.documents:
            row = each.document
            yield f"{row.doc_id} {row.content_hash} {row.size} {row.mtime_ns} {row.status}"
            yield f"{row.parser_version} {row.chunker_version} {row.title}"
            for chunk in each.chunks:
                yield f"{chunk.page_from} {chunk.page_to} {chunk.heading}"
                yield f"{chunk.page_label_from} {chunk.page_label_to}"
                yield chunk.text
                yield chunk.embedded_text


def _name() -> str:
    parsed = task_run.parameters["parsed"]
    if isinstance(parsed, State):  # a task's name is asked for before its arguments are resolved
        parsed = parsed.result(_sync=True)  # type: ignore[call-overload]
    chunked: ChunkedBundle = parsed.content
    return f"embed {quantity(chunked.chunks, 'chunk')} · bundle {chunked.bundle.number}"


@task(name="embed", task_run_name=_name, cache_policy=BundlePolicy(), **PERSISTED)
@runs_on("embed")
def embed_bundle(parsed: Opaque[ChunkedBundle], embedding: Opaque[VectorSources]) -> Opaque[EmbeddedBundle]:
    """Embed all chunks of a bundle.

    Raises:
        ClusterError: No node worked for too long. Finished vectors are in the cache.
    """
    what = embedding.content
    with publishing_stats(what.topic, what.dispatcher):
        return Opaque(_embed(parsed.content, what))


def _embed(chunked: ChunkedBundle, embedding: VectorSources) -> EmbeddedBundle:
    known = KnownVectors(embedding, chunked.bundle)
    pending = list(chunked.documents)
    failures: dict[str, TextError] = {}
    # Each round splits the chunks that were too long, until all fit or fail. The loop ends, because parts become
    # shorter.
    while True:
        texts = {chunk.to_embed for each in pending for chunk in each.chunks}
        new = known.complete(sorted(texts - failures.keys()))
        failures |= new
        too_long = {text for text, error in new.items() if isinstance(error, TextTooLong) and len(text) > 1}
        if not too_long:
            break
        pending = [_split(each, too_long) for each in pending]
    documents, failed = [], []
    for each in pending:
        done, row = _assemble(each, known, failures)
        if done is not None:
            documents.append(done)
        if row is not None:
            failed.append(row)
    dispatcher = embedding.dispatcher
    chunks, embedded = sum(len(each.chunks) for each in documents), known.by_node.total()
    stored = RunStatistics(
        size=sum(file.size for file in chunked.bundle.files),
        pages=sum(each.document.pages for each in documents),
        chunks=chunks,
        embedded=embedded,
        reused=chunks - embedded,
    )
    return EmbeddedBundle(
        number=chunked.bundle.number,
        documents=tuple(documents),
        failed=tuple(failed),
        statistics=sum((each.statistics for each in chunked.documents), stored + known.statistics),
        left_out={
            each.document.path: each.left_out for each in chunked.documents if each.left_out != LeftOut()
        },
        by_node=dict(known.by_node),
        worked=known.worked,
        worker=process_name(),
        nodes=dispatcher.stats(),
    )


def _split(each: ChunkedDocument, too_long: set[str]) -> ChunkedDocument:
    parts: list[Chunk] = []
    for chunk in each.chunks:
        parts += split_chunk(chunk) if chunk.to_embed in too_long else [chunk]
    return replace(each, chunks=tuple(renumbered(parts)))


def _assemble(
    each: ChunkedDocument, known: KnownVectors, failures: Mapping[str, TextError]
) -> tuple[EmbeddedDocument | None, Document | None]:
    """Return a document with the vectors of its chunks, or the manifest row of a failed one."""
    row = each.document
    if row.status == FAILED:
        return None, row
    good = [chunk for chunk in each.chunks if chunk.to_embed in known.vectors]
    bad = [failures[chunk.to_embed] for chunk in each.chunks if chunk.to_embed in failures]
    if bad:
        reason = f"{len(bad)} of {quantity(len(each.chunks), 'chunk')} could not be embedded: {bad[0]}"
        row = replace(
            row, status=PARTIAL if good else FAILED, kind="text", reason=reason, remedy=bad[0].remedy
        )
    if not good:
        return None, row
    # The time of a text counts for its first document, so that the times of all documents add up to the run's.
    row = replace(row, node_seconds=sum(known.seconds_of.pop(chunk.to_embed, 0.0) for chunk in good))
    matrix = np.stack([known.vectors[chunk.to_embed] for chunk in good])
    return EmbeddedDocument(row, renumbered(good), matrix), None
