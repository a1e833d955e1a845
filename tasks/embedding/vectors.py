"""Vectors by text: from the table for documents that changed, then from the cache, then from nodes.

A vector is in the cache about a second after it was confirmed, even if its bundle waits for others. So the run after a
kill repeats only some seconds of work.
"""

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from prefect_ollama.blocks.cache import CacheHits, VectorCache, shared_cache, vector_keys
from prefect_ollama.blocks.errors import CacheError, ClusterError, TextError
from prefect_ollama.blocks.lance import Store, text_hash
from prefect_ollama.blocks.nodes import Vectors, scripts_in, unlike_scripts
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.dispatch import Embedded
from prefect_ollama.tasks.embedding._single_flight import SingleFlight, TextLocks
from prefect_ollama.tasks.embedding.vector_sources import VectorSources
from prefect_ollama.tasks.planning import Bundle, document_id
from prefect_ollama.tasks.prefect_state import run_logger
from prefect_ollama.tasks.reporting import RunStatistics

# Texts whose vectors are put into the cache together; few, because a slow node takes seconds for each.
PUT_TEXTS = 8

# Seconds between two look-ups in the cache of texts that another run embeds. The other run writes to the cache each
# second.
OTHER_RUN_POLL_S = 0.25

# Seconds without a new vector from another run, after which its texts are embedded here too. The other run may be
# stopped, or wait for nodes that are gone, while the nodes of this run are free.
OTHER_RUN_TIMEOUT_S = 60.0

# Seconds between two writes to the cache, except at a bundle's end: each write is synced to the disk.
PUT_INTERVAL_S = 1.0


class KnownVectors:
    """The vectors of one bundle's texts.

    Args:
        bundle: The bundle. Vectors of its documents that are in the table already are read from there.

    Attributes:
        vectors: The vectors, by text.
        statistics: Number of vectors by their origin, and the node time of those that nodes made.
        by_node: Number of texts, by the node that embedded them.
        seconds_of: Seconds of node time, by text, until they are added to a document.
        worked: When the first text was given to nodes, and when the last one was done (`time.time()`); None if no node
            was needed.
    """

    def __init__(self, embedding: VectorSources, bundle: Bundle) -> None:
        self.vectors: dict[str, Vectors] = {}
        self.statistics = RunStatistics()
        self.by_node: Counter[str] = Counter()
        self.seconds_of: dict[str, float] = {}
        self.worked: tuple[float, float] | None = None
        self._warned: set[tuple[str, tuple[str, ...]]] = set()
        self._embedding = embedding
        self._cache: VectorCache | None = None if embedding.cache is None else shared_cache(embedding.cache)
        self._stored: Mapping[str, Vectors] = {}
        if embedding.store is not None and bundle.again:
            # All chunks of a changed file at once: most of them have not changed.
            ids = [document_id(bundle.source, path) for path in bundle.again]
            self._stored = Store.open(embedding.store).vectors_for(ids)

    def complete(self, texts: Sequence[str]) -> dict[str, TextError]:
        """Find or make the vectors of texts, and return the errors of texts that cannot have one.

        Raises:
            ClusterError: No node worked for too long. The vectors so far are in the cache.
        """
        hashes = {text: text_hash(text) for text in texts if text not in self.vectors} if self._stored else {}
        from_table = {text: self._stored[key] for text, key in hashes.items() if key in self._stored}
        self.vectors |= from_table
        self.statistics += RunStatistics(from_table=len(from_table))
        failures: dict[str, TextError] = {}
        while missing := [text for text in texts if text not in self.vectors and text not in failures]:
            with _single_flight.of(missing, self._embedding.salt) as (mine, others):
                # The cache is read after the claim: a thread that had a text before has put its vector there by then.
                self._from_cache(list(mine))
                failures |= self._not_cached([text for text in mine if text not in self.vectors])
                for text, outcome in mine.items():
                    outcome.set_result(self.vectors.get(text, failures.get(text)))
            for text, outcome in others.items():
                found = outcome.result()
                if isinstance(found, TextError):
                    failures[text] = found
                elif found is not None:
                    self.vectors[text] = found
        return failures

    def _has_cache(self) -> bool:
        """Return whether the cache is still used: the first failure to read or write it ends that."""
        return self._cache is not None

    def _not_cached(self, texts: list[str]) -> dict[str, TextError]:
        """Embed texts, but wait for the vectors of those that another run on this host is embedding."""
        if self._embedding.cache is None or not self._has_cache():
            return self._from_nodes(texts)
        locks = _text_locks(self._embedding.cache.folder)
        failures: dict[str, TextError] = {}
        patient_until = time.monotonic() + OTHER_RUN_TIMEOUT_S
        while left := [text for text in texts if text not in self.vectors and text not in failures]:
            keys = dict(zip(left, vector_keys(self._embedding.salt, left), strict=True))
            with locks.hold(keys) as held:
                # Who had the lock before may have put the vector into the cache since it was asked.
                mine = [text for text in left if text in held]
                self._from_cache(mine)
                failures |= self._from_nodes(
                    [text for text in mine if text not in self.vectors],
                    lambda texts: locks.release(keys[text] for text in texts),  # noqa: B023 – called in here
                )
            theirs = [text for text in left if text not in held]
            if not theirs:
                continue
            self._from_cache(theirs)
            if mine or any(text in self.vectors for text in theirs):
                patient_until = time.monotonic() + OTHER_RUN_TIMEOUT_S
            elif not self._has_cache() or time.monotonic() >= patient_until:
                return failures | self._from_nodes(theirs)
            else:
                time.sleep(OTHER_RUN_POLL_S)
        return failures

    def _from_nodes(
        self, texts: list[str], kept: Callable[[Iterable[str]], None] = lambda texts: None
    ) -> dict[str, TextError]:
        """Embed texts; `kept` is called with those whose vectors have just been put into the cache."""
        if not texts:
            return {}
        dispatcher = self._embedding.dispatcher
        failures: dict[str, TextError] = {}
        new: list[tuple[Sequence[str], Embedded]] = []
        last, began = time.monotonic(), time.time()
        try:
            for part, embedded in dispatcher.embed_parts(texts, PUT_TEXTS):
                new.append((part, embedded))
                failures |= {part[index]: error for index, error in embedded.failures.items()}
                if time.monotonic() - last >= PUT_INTERVAL_S:
                    kept(self._put_into_cache(new))
                    new, last = [], time.monotonic()
        except ClusterError as error:
            raise ClusterError(
                error.cause,
                left=error.left,
                causes=error.causes,
                state=f"{error.left} of {quantity(len(texts), 'text is', 'texts are')} left; "
                "the others' vectors are in the cache.",
                remedy=error.remedy,
            ) from None
        finally:
            self.worked = (self.worked[0] if self.worked else began, time.time())
            self._put_into_cache(new)
        return failures

    def _from_cache(self, texts: list[str]) -> None:
        if self._cache is None or not texts:
            return
        keys = vector_keys(self._embedding.salt, texts)
        try:
            found: CacheHits = self._cache.get(keys, self._embedding.cluster.reference.dimension)
        except CacheError as error:
            self._without_cache(error)
            return
        hits = [text for text, hit in zip(texts, found.mask, strict=True) if hit]
        self.statistics += RunStatistics(from_cache=len(hits))
        self.vectors |= dict(zip(hits, found.vectors, strict=True))

    def _put_into_cache(self, parts: Sequence[tuple[Sequence[str], Embedded]]) -> Iterable[str]:
        """Put new vectors into the cache; return their texts."""
        made: dict[str, Vectors] = {}
        for texts, embedded in parts:
            done = [index for index, node in enumerate(embedded.nodes) if node]
            for index in done:
                made[texts[index]] = embedded.vectors[index]
                # Nodes report the time of a request, not of a text.
                self.seconds_of[texts[index]] = embedded.node_seconds / len(done)
            self.by_node.update(name for name in embedded.nodes if name)
            self._note_other_tokens(texts, embedded)
            self.statistics += RunStatistics(node_seconds=embedded.node_seconds)
        self.vectors |= made
        if self._cache is not None and made:
            try:
                self._cache.put(vector_keys(self._embedding.salt, list(made)), np.stack(list(made.values())))
            except CacheError as error:
                self._without_cache(error)
        return made

    def _note_other_tokens(self, texts: Sequence[str], embedded: Embedded) -> None:
        """Count the texts in scripts in which the node that embedded them differs, and name the first of each kind."""
        for text, node in zip(texts, embedded.nodes, strict=True):
            verification = self._embedding.cluster.verifications.get(node)
            scripts = scripts_in(text, verification.other_scripts) if verification is not None else ()
            if verification is None or not scripts:
                continue
            self.statistics += RunStatistics(other_tokens=1)
            if (node, scripts) not in self._warned:
                self._warned.add((node, scripts))
                run_logger().warning(
                    "Node %r tokenizes %s in another way than the table's or the other nodes, and a chunk of this "
                    "bundle holds such text. Its vector was stored, but compares badly with those of other nodes. Use "
                    "nodes of one kind for such documents.",
                    node,
                    unlike_scripts({name: verification.other_scripts[name] for name in scripts}),
                )

    def _without_cache(self, error: CacheError) -> None:
        run_logger().warning("This bundle continues without the cache: %s", error)
        self._cache = None


_single_flight = SingleFlight()


@functools.cache
def _text_locks(cache_folder: str) -> TextLocks:
    """Return the locks of this process; all its threads share them, because POSIX locks belong to a process."""
    return TextLocks(Path(cache_folder) / "text-locks")
