"""Estimate the cost of embedding a table again."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from prefect import task

from prefect_ollama.blocks.cache import CacheSpec, VectorSalt, shared_cache, vector_keys
from prefect_ollama.blocks.documents import PARTIAL, STORED, Document
from prefect_ollama.blocks.errors import CacheError
from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.nodes import VerifiedCluster
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.dispatch import Dispatcher, divide_long_words, estimate_units
from prefect_ollama.tasks.embedding import salt_of
from prefect_ollama.tasks.planning import LISTED, find_files, location_of
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque

# Texts that are embedded for each node to measure the rate; they are in the cache afterwards.
SAMPLE_OF_NODE = 12

# Documents that the text of the losses names; more are hard to read.
MAX_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ReEmbedCost:
    """The cost of embedding a table again.

    The cost is counted for the present chunks of the table; another chunker may make other chunks. The texts of files
    that the table does not have as they are now are estimated by the size of these files.

    Attributes:
        table: Where the table is.
        model: Name of the model that the nodes have.
        sources: Sources whose files are read again.
        documents: Documents that are read again.
        chunks: Their chunks as they are now.
        tokens: Tokens in those.
        node_seconds: Time that nodes spent on them before, in seconds.
        data_bytes: Size of the chunk table.
        texts: Different texts of chunks.
        cached: Of these, with a vector of this model in the cache.
        files: New and changed files of the sources, which are read and embedded too.
        file_texts: Their texts, estimated.
        absent: Paths of documents without a file, or with one that is excluded. The new table will not have them.
        nodes: Nodes that work.
        texts_per_second: Measured rate of all nodes together, 0 if no text could be embedded.
        seconds: Estimated time of the nodes for all that is not in the cache; files are read meanwhile.
    """

    table: str
    model: str
    sources: tuple[str, ...]
    documents: int
    chunks: int
    tokens: int
    node_seconds: float
    data_bytes: int
    texts: int
    cached: int
    files: int
    file_texts: int
    absent: tuple[str, ...]
    nodes: int
    texts_per_second: float
    seconds: float

    @property
    def work(self) -> str:
        """The work of the nodes, as text."""
        missing = self.texts - self.cached
        nodes, cached = quantity(self.nodes, "node"), quantity(self.cached, "vector is", "vectors are")
        texts = quantity(self.texts, "different text has", "different texts have")
        rate = f"about {_rounded_time(self.seconds)} at {self.texts_per_second:.1f} texts/s of {nodes}"
        files = quantity(self.files, "new or changed file has", "new and changed files have")
        more = f", and {files} about {quantity(self.file_texts, 'text')}" if self.files else ""
        return (
            f"{missing:,} of {texts} to be embedded with {self.model!r}{more}: "
            f"{rate if self.texts_per_second else 'the time is unknown'}. {cached} in the cache."
        )

    @property
    def losses(self) -> str:
        """The documents that the new table will lack, as text; empty for none."""
        if not self.absent:
            return ""
        shown = ", ".join(map(repr, self.absent[:MAX_SHOWN])) + (
            ", …" if len(self.absent) > MAX_SHOWN else ""
        )
        return (
            f"{quantity(len(self.absent), 'document has', 'documents have')} no file in the sources, or an excluded "
            f"one, and will not be in the new table: {shown}. To keep them, put the files back first."
        )

    def __str__(self) -> str:
        said = f"Table {self.table}, {quantity(self.documents, 'document')}: {self.work}"
        return f"{said} {self.losses}".rstrip()


class ComparedFiles(NamedTuple):
    """Sizes of the files that the table does not have, or has in another size; paths of documents without a file."""

    sizes: list[int]
    absent: tuple[str, ...]


@task(name="estimate the cost", **UNCACHED)
def estimate_cost(
    store: Opaque[Store], verified: VerifiedCluster, cache: CacheSpec | None, files: Opaque[ComparedFiles]
) -> ReEmbedCost:
    """Measure the nodes' rate on some of a table's texts, and count what they would have to embed.

    Args:
        files: As `compare_files` returns them.

    Raises:
        ClusterError: No node works any more.
        TableError: The table cannot be read.
    """
    table = store.content
    model = verified.spec.model
    salt = salt_of(verified, cache)
    manifest = table.manifest()
    sizes, absent = files.content
    units_per_second, texts_per_second = _rate(table, verified, cache, salt)
    # Keys are collected and not texts, because a key has 32 bytes and a text may be long.
    seen: set[bytes] = set()
    cached, units, all_units = 0, 0.0, 0.0
    # In batches, because the texts of a large table do not fit into memory.
    for batch in table.texts():
        keys = vector_keys(salt, batch)
        new = {key: text for key, text in zip(keys, batch, strict=True) if key not in seen}
        seen.update(new)
        there = _are_cached(cache, list(new), verified.reference.dimension)
        cached += int(there.sum())
        costs = np.array([estimate_units(model.document_prefix + text) for text in new.values()])
        all_units += float(costs.sum())
        units += float(costs[~there].sum())
    rows = [row for row in manifest if row.status in (STORED, PARTIAL)]
    size = sum(row.size for row in rows)
    # Part of the table's texts that the other files have, if their bytes have as many texts as those of the table.
    more = sum(sizes) / size if size else 0.0
    return ReEmbedCost(
        table=str(table.spec),
        model=model.name,
        sources=tuple(sorted({row.source for row in rows})),
        documents=len(rows) - len(absent),
        chunks=sum(row.chunks for row in rows),
        tokens=sum(row.tokens for row in rows),
        node_seconds=sum(row.node_seconds for row in rows),
        data_bytes=table.stats().data_bytes,
        texts=len(seen),
        cached=cached,
        files=len(sizes),
        file_texts=round(more * len(seen)),
        absent=absent,
        nodes=len(verified.verifications),
        texts_per_second=texts_per_second,
        seconds=(units + more * all_units) / units_per_second if units_per_second else 0.0,
    )


def compare_files(manifest: Sequence[Document], exclude: Sequence[str]) -> ComparedFiles:
    """Compare the sources with their table. No node is asked.

    Args:
        manifest: The documents of the table.
        exclude: As for `find_files`.

    Raises:
        ConfigurationError: A source of the table is not there.
    """
    stored = [row for row in manifest if row.status in (STORED, PARTIAL)]
    listed = [row.path for row in manifest if row.source == LISTED]
    files = {
        (name, file.path): file.size
        for name in sorted({row.source for row in stored})
        for file in find_files(listed if name == LISTED else name, exclude).files
    }
    known = {(row.source, row.path): row.size for row in manifest}
    sizes = [size for key, size in files.items() if known.get(key) != size]
    absent = tuple(location_of(row) for row in stored if (row.source, row.path) not in files)
    return ComparedFiles(sizes, absent)


def _rate(
    table: Store, verified: VerifiedCluster, cache: CacheSpec | None, salt: VectorSalt
) -> tuple[float, float]:
    """Return units and texts a second of all nodes together."""
    texts = list(
        dict.fromkeys(text for text, _ in table.sample(SAMPLE_OF_NODE * len(verified.verifications)))
    )
    if not texts:
        return 0.0, 0.0
    # A dispatcher of its own, as the run has it, so that all nodes are measured together with their waiting.
    with Dispatcher(verified, prepare=divide_long_words) as dispatcher:
        began = time.monotonic()
        embedded = dispatcher.embed(texts)
        # A clock of a coarse resolution may not have moved.
        seconds = max(time.monotonic() - began, 1e-6)
    done = [at for at in range(len(texts)) if at not in embedded.failures]
    if cache is not None and done:
        # The sample is not embedded for nothing: the run finds these vectors in the cache. If the cache fails, the run
        # itself says so.
        with suppress(CacheError):
            keys = vector_keys(salt, [texts[at] for at in done])
            shared_cache(cache).put(keys, embedded.vectors[done])
    units = sum(estimate_units(verified.spec.model.document_prefix + texts[at]) for at in done)
    return units / seconds, len(done) / seconds


def _are_cached(cache: CacheSpec | None, keys: list[bytes], dimension: int) -> np.ndarray:
    if cache is not None and keys:
        # A cache that fails gives no vectors in the run either, so the estimate is for all texts.
        with suppress(CacheError):
            return shared_cache(cache).holds(keys, dimension)
    return np.zeros(len(keys), np.bool_)


def _rounded_time(seconds: float) -> str:
    # Two digits are all that an estimate has.
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
