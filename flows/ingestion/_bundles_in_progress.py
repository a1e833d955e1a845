"""Bundles in progress on the workers."""

import queue
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed.scheduler import NoValidWorkerError, NoWorkerError
from prefect import unmapped

from prefect_ollama.blocks.errors import PrefectOllamaError, TaskRunLost
from prefect_ollama.flows.runner import IngestFuture
from prefect_ollama.tasks.embed import EmbeddedBundle, embed_bundle
from prefect_ollama.tasks.embedding import VectorSources
from prefect_ollama.tasks.parse import parse_bundle
from prefect_ollama.tasks.planning import Bundle, ChunkingPlan
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque, PersistedResults


@dataclass(frozen=True, slots=True, eq=False)
class BundleOutcome:
    """A bundle that is done, with its documents, or the error if it failed.

    Attributes:
        cached: Whether the result is one that Prefect had kept from an earlier run.
        kept: The file in which Prefect keeps the result.
        lost: The error, if a file may be the cause: it could not be parsed, or killed its worker.
        vanished: Whether the result that Prefect kept could not be read.
    """

    bundle: Bundle
    result: EmbeddedBundle | None = None
    cached: bool = False
    kept: Path | None = None
    error: Exception | None = None
    lost: Exception | None = None
    vanished: bool = False


class BundlesInProgress:
    """Bundles in progress on the workers, in the order in which they end."""

    def __init__(
        self, chunking_plan: Opaque[ChunkingPlan], embedding: Opaque[VectorSources], kept: PersistedResults
    ) -> None:
        self._chunking_plan = chunking_plan
        self._embedding = embedding
        self._kept = kept
        # Dask puts futures in it as they end, so nothing polls.
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._bundles: dict[Any, tuple[Bundle, IngestFuture[Any], bool]] = {}

    def __len__(self) -> int:
        return len(self._bundles)

    def start(self, bundles: Sequence[Bundle], *, fresh: bool = False) -> None:
        """Submit bundles to the workers.

        Args:
            fresh: Whether to use no result that Prefect has persisted, and to persist none.
        """
        if not bundles:
            return
        parsed = parse_bundle.map(
            [Opaque(bundle) for bundle in bundles], chunking_plan=unmapped(self._chunking_plan)
        )
        task = embed_bundle.with_options(**UNCACHED) if fresh else self._kept.of(embed_bundle)
        embedded = task.map(parsed, embedding=unmapped(self._embedding))
        for bundle, before, after in zip(bundles, parsed, embedded, strict=True):
            self._bundles[after.task_run_id] = (bundle, before, fresh)  # type: ignore[assignment]
            after.add_done_callback(self._ended.put)

    def next(self) -> BundleOutcome:
        future: IngestFuture[Any] = self._ended.get()
        bundle, before, fresh = self._bundles.pop(future.task_run_id)
        try:
            result: EmbeddedBundle = future.result().content
        except Exception as error:
            unparsed = _error(before)
            lost = unparsed or (error if isinstance(error, TaskRunLost) else None)
            if lost is not None and isinstance(lost.__cause__, NoWorkerError | NoValidWorkerError):
                error, lost = lost, None  # no worker started, which is not the fault of a file
            # Another run over the same files may have stored the bundle and deleted its result, after this run found
            # the result and before it read it. The vectors are in the cache.
            vanished = not (lost or fresh or isinstance(error, PrefectOllamaError))
            done = BundleOutcome(bundle, error=error, lost=lost, vanished=vanished)
        else:
            done = BundleOutcome(bundle, result, future.state.name == "Cached", self._kept.file(future.state))
        # Without this the worker would keep the vectors in memory until the end of the run.
        future.release()
        before.release()
        return done


def _error(future: IngestFuture[Any]) -> Exception | None:
    """Return the error of a task run that has ended; None if it did not fail."""
    result = future.result(raise_on_failure=False)
    return result if isinstance(result, Exception) else None
