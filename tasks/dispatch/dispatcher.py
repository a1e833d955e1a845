"""Embed over all nodes of a cluster, from any thread and any Dask worker.

A process has one dispatcher for each cluster. The texts of all callers go into its one queue.
"""

import atexit
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Literal

from prefect_ollama.blocks.errors import ClusterError
from prefect_ollama.blocks.nodes import VerifiedCluster
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.dispatch._base_dispatcher import BaseDispatcher
from prefect_ollama.tasks.dispatch._embedding_kind import EmbeddingKind
from prefect_ollama.tasks.dispatch.embedding import Embedded, EmbeddingJob, Unfinished
from prefect_ollama.tasks.dispatch.long_words import divide_long_words

Kind = Literal["document", "query"]

# Seconds that an idle shared dispatcher is kept after its last use, when another run needs one: a task of the same
# run may follow soon, and the measured rates would be lost.
KEEP_IDLE_S = 60.0


class Dispatcher(BaseDispatcher):
    """Embeds over all nodes of a cluster. Close it, or use it as a context manager.

    Attributes:
        cluster: The verified nodes.

    Args:
        cluster: The verified nodes (`prefect_ollama.blocks.nodes.verification.verify_cluster`).
        shared_folder: Folder in which all users of the same nodes share their limits; None if there are no others.
        prepare: Called with each text and its prefix, and returns the text that nodes get, like `divide_long_words`.
            Callers see the texts that they gave.
    """

    def __init__(
        self,
        cluster: VerifiedCluster,
        shared_folder: Path | None = None,
        *,
        prepare: Callable[[str], str] = str,
    ) -> None:
        super().__init__(EmbeddingKind(cluster), cluster.spec, shared_folder)
        self.cluster = cluster
        self._prepare = prepare

    def embed(self, texts: Sequence[str], *, kind: Kind = "document") -> Embedded:
        """Embed texts and wait. May be called from many threads at once.

        Args:
            texts: The texts, without prompt prefix; this method adds it.
            kind: "query" takes the query prefix, and goes before all other work.

        Returns:
            One vector or one error for every text, in order.

        Raises:
            Unfinished: No node worked for the cluster's `give_up_after`, or the dispatcher was closed; what
                was done before is in its `embedded`.
            ClusterError: The dispatcher was closed before.
        """
        return self.wait_for(self._job(texts, kind))

    def embed_parts(self, texts: Sequence[str], size: int) -> Generator[tuple[Sequence[str], Embedded]]:
        """Embed texts, and yield parts of them as they are done, so that callers can store them meanwhile.

        Nodes work as for `embed`, because all texts are in the queue from the start.

        Args:
            texts: The texts, without prompt prefix.
            size: Texts in a part; the last may have fewer.

        Yields:
            The texts of a part, and one vector or one error for each of them.

        Raises:
            ClusterError: No node worked for the cluster's `give_up_after`, or the dispatcher was closed; what was
                done before was handed over.
        """
        parts = [texts[start : start + size] for start in range(0, len(texts), size)]
        jobs: dict[Future[Embedded], tuple[EmbeddingJob, Sequence[str]]] = {}
        unfinished: list[Unfinished] = []
        try:
            for part in parts:
                job = self._job(part, "document")
                self.submit(job)
                jobs[job.future] = job, part
            for future in as_completed(jobs):
                error = future.exception()
                if isinstance(error, Unfinished):
                    unfinished.append(error)
                    yield jobs[future][1], error.embedded
                else:
                    yield jobs[future][1], future.result()
        finally:
            for job, _ in jobs.values():
                self.cancel(job)
        if unfinished:
            first, left = unfinished[0], sum(error.left for error in unfinished)
            raise ClusterError(
                first.cause,
                left=left,
                state=f"{quantity(left, 'text is', 'texts are')} left.",
                remedy=first.remedy,
            )

    def _job(self, texts: Sequence[str], kind: Kind) -> EmbeddingJob:
        model = self.cluster.spec.model
        prefix = model.query_prefix if kind == "query" else model.document_prefix
        # The largest of all nodes; each node takes as many of these as its own limit allows.
        most = max(node.max_request_texts for node in self.cluster.spec.nodes)
        return EmbeddingJob(
            list(texts),
            self.cluster.reference.dimension,
            prefix=prefix,
            urgent=kind == "query",
            limit=most,
            prepare=self._prepare,
        )


_shared: dict[object, tuple[Dispatcher, float]] = {}
_shared_lock = threading.Lock()


def shared_dispatcher(cluster: VerifiedCluster, key: object, shared_folder: Path | None = None) -> Dispatcher:
    """Return the dispatcher of this process for a cluster, which divides long words. The first call makes it.

    The dispatcher is closed when the process ends. A worker may outlive many runs, so a call with another key also
    closes every dispatcher that is idle and was not asked for in the last minute. Call this function each time, and
    keep no result.

    Args:
        cluster: The verified nodes.
        key: Distinguishes the clusters of different runs; hashable.
        shared_folder: As for `Dispatcher`.
    """
    now = time.monotonic()
    with _shared_lock:
        if not _shared:
            atexit.register(_close_shared)
        if key not in _shared:
            # A copy of the list, because entries are deleted on the way.
            for other, (dispatcher, used) in list(_shared.items()):
                if dispatcher.idle and now - used > KEEP_IDLE_S:
                    del _shared[other]
                    dispatcher.close()
        if key in _shared:
            dispatcher, _ = _shared[key]
        else:
            dispatcher = Dispatcher(cluster, shared_folder, prepare=divide_long_words)
        _shared[key] = dispatcher, now
        return dispatcher


def _close_shared() -> None:
    with _shared_lock:
        for dispatcher, _ in _shared.values():
            dispatcher.close()
        _shared.clear()
