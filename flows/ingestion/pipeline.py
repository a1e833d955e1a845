"""The pipeline of a run: bundles are parsed, embedded and stored, all at the same time.

Guarantees: the number of bundles in progress is bounded. A file that kills its worker fails no other file. If no node
is left, all vectors so far are in the table or in the cache, and the error says how much work is left.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from distributed.scheduler import KilledWorker

from prefect_ollama.blocks.documents import FAILED, Document
from prefect_ollama.blocks.errors import ClusterError
from prefect_ollama.blocks.nodes import VerifiedCluster
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.flows.ingestion._bundles_in_progress import BundlesInProgress
from prefect_ollama.flows.ingestion.run import IngestRun
from prefect_ollama.tasks.chunking import CHUNKER_VERSION
from prefect_ollama.tasks.embedding import VectorSources
from prefect_ollama.tasks.parsing import format_of
from prefect_ollama.tasks.planning import Bundle, Bundles, ChunkingPlan, SourceFile, document_id
from prefect_ollama.tasks.prefect_state import Opaque, PersistedResults
from prefect_ollama.tasks.store import Writer

# Seconds of node time in a bundle: enough that the cost of its two task runs is small beside it.
BUNDLE_SECONDS = 3.0

# Chunks in a bundle: fewer are not worth a task run, more take memory and are stored late.
MIN_BUNDLE, MAX_BUNDLE = 64, 1024

# Bundles in progress in addition to those that are parsed: the nodes' queue never runs empty, and memory is bounded.
BUNDLES_AHEAD = 8


def run_bundles(
    run: IngestRun,
    chunking_plan: ChunkingPlan,
    embedding: VectorSources,
    ahead: int,
    *,
    at_last: Callable[[], object] | None = None,
) -> None:
    """Parse, chunk, embed and store the files of a run. Nodes work while later files are parsed.

    Args:
        run: The run, begun.
        ahead: Bundles in progress at most.
        at_last: Called when the last bundles are in progress.

    Raises:
        ClusterError: No node is left. Finished vectors are stored or in the cache, if there is one.
        Exception: A task failed, and no file is the cause.
    """
    plan = run.plan
    reread = frozenset(file.path for file in plan.reread)
    again = frozenset(file.path for file in (*plan.changed, *plan.again)) | reread
    bundles = Bundles(plan.source, plan.to_read, again, _bundle_chunks(embedding.cluster))
    # Cut bundles exactly as an interrupted run did, so that its persisted results match.
    bundles.learn(sum(row.size for row in plan.unchanged), sum(row.chunks for row in plan.unchanged))
    kept = PersistedResults()
    in_progress = BundlesInProgress(Opaque(chunking_plan), Opaque(embedding), kept)
    writer = Writer(run.store)
    # Files that may have killed their workers, or were only beside the file that did.
    suspects: list[Bundle] = []
    suspect: Bundle | None = None
    stopped: Exception | None = None
    while len(in_progress) or ((len(bundles) or suspects) and stopped is None):
        if stopped is None:
            in_progress.start(_next_bundles(bundles, ahead - len(in_progress)))
            if not len(in_progress):
                # The last of all, and one at a time: then no other file can be the cause.
                suspect = suspects.pop()
                in_progress.start([suspect])
            if at_last is not None and not len(bundles):
                # Maintenance starts now, so that it has imported what it needs when the last bundle is stored.
                at_last()
                at_last = None
        done = in_progress.next()
        if done.result is not None:
            bundles.learn(
                done.result.statistics.size, sum(len(each.chunks) for each in done.result.documents)
            )
            result = replace(done.result, failed=_with_kept_version(done.result.failed, reread))
            run.count(result, embedded_now=not done.cached)
            writer.add(replace(result, failed=_rows_to_store(result.failed, reread)), done.kept)
        elif stopped is not None:
            pass  # its files stay for the next run
        elif done.vanished:
            # Its vectors are in the cache, so only the parsing is repeated.
            in_progress.start([done.bundle], fresh=True)
        elif done.lost is None:
            stopped = done.error
        elif len(done.bundle.files) > 1:
            # One of its files killed the worker. In a bundle of its own it fails no other file.
            in_progress.start([_single_file_bundle(done.bundle, file) for file in done.bundle.files])
        elif isinstance(done.lost.__cause__, KilledWorker) and done.bundle is not suspect:
            # Dask counts a death against every task that the worker had, also those that only waited there.
            suspects.append(done.bundle)
        else:
            failed = _with_kept_version(_failed_rows(done.bundle, done.lost), reread)
            run.note_failed(failed)
            writer.add_failed(_rows_to_store(failed, reread))
    writer.flush()
    # Results of stored bundles are not needed any more, and hold the text of documents.
    kept.sweep()
    if isinstance(stopped, ClusterError):
        raise ClusterError(
            f"{run.to_do} of {quantity(len(plan.to_read), 'file is', 'files are')} left to do: {stopped.cause}",
            left=stopped.left,
            causes=stopped.causes,
            state="Finished vectors are stored or in the cache, and are not embedded again."
            if embedding.cache
            else "Stored files are kept. Without the cache all texts of the files left are embedded again.",
            remedy="Bring a node back and run again.",
        ) from stopped
    if stopped is not None:
        raise stopped


def _next_bundles(bundles: Bundles, most: int) -> list[Bundle]:
    return [bundle for _ in range(most) if (bundle := bundles.next()) is not None]


def _single_file_bundle(bundle: Bundle, file: SourceFile) -> Bundle:
    return replace(bundle, files=(file,), again=bundle.again & {file.path})


def _failed_rows(bundle: Bundle, error: Exception) -> list[Document]:
    """Return the manifest rows of a bundle that was lost."""
    return [
        Document(
            document_id(bundle.source, file.path),
            bundle.source,
            file.path,
            FAILED,
            file.size,
            file.mtime_ns,
            kind="lost",
            reason=str(error),
            parser_version=format_of(file.path).version,
            chunker_version=CHUNKER_VERSION,
            remedy="Look at the file, and at the memory of the machine; then use *Retry failed* (`--retry-failed`).",
        )
        for file in bundle.files
    ]


def _with_kept_version(failed: Sequence[Document], reread: frozenset[str]) -> tuple[Document, ...]:
    """Add to documents that could not be read again that their earlier version stays in the table."""
    state = "It did not change, and what was read of it before stays in the table."
    return tuple(
        replace(row, reason=f"{row.reason} {state}") if row.path in reread else row for row in failed
    )


def _rows_to_store(failed: Sequence[Document], reread: frozenset[str]) -> tuple[Document, ...]:
    """Return the rows to store: an unchanged file keeps the document that an earlier parser or chunker made."""
    return tuple(row for row in failed if row.path not in reread)


def _bundle_chunks(cluster: VerifiedCluster) -> int:
    """Return the chunks that the nodes embed in `BUNDLE_SECONDS`; a power of two, see `Bundles`."""
    rate = sum(verification.texts_per_second for verification in cluster.verifications.values())
    return int(min(max(2 ** round(math.log2(rate * BUNDLE_SECONDS)), MIN_BUNDLE), MAX_BUNDLE))
