"""Bring a table in step with a folder of PDFs."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from prefect import flow, get_run_logger, unmapped
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext
from prefect.settings import get_current_settings
from pydantic import Field

from prefect_ollama.blocks.cache import CacheSpec
from prefect_ollama.blocks.errors import ClusterError, ModelFilesError, TableMissing
from prefect_ollama.blocks.lance import FAILED, Document, Identity, Store
from prefect_ollama.blocks.wire.proof import ProvenCluster
from prefect_ollama.flows.futures import Completions, IngestFuture
from prefect_ollama.flows.parameters import (
    Chunking,
    ModelParameter,
    NodesParameter,
    Reading,
    SourceParameter,
    TableParameter,
    table_of,
)
from prefect_ollama.flows.task_runner import IngestTaskRunner
from prefect_ollama.tasks.dispatch import Dispatcher, NodeFigures
from prefect_ollama.tasks.embed import EmbeddedBundle, embed_bundle
from prefect_ollama.tasks.interrupted import settle_interrupted
from prefect_ollama.tasks.parcel import Parcel
from prefect_ollama.tasks.parse import MINILM, Cutting, parse_bundle
from prefect_ollama.tasks.planning import Bundle, Bundles, Plan
from prefect_ollama.tasks.planning.source import document_id
from prefect_ollama.tasks.prove import gives_stored_vectors, prove_nodes
from prefect_ollama.tasks.report import FileReport, IngestReport, node_reports
from prefect_ollama.tasks.scan import plan_source
from prefect_ollama.tasks.serving import serving_cluster
from prefect_ollama.tasks.store import Writer
from prefect_ollama.tasks.vectors import Embedding

AS_USUAL_READ = Reading()
AS_USUAL_CUT = Chunking()

BUNDLE_SECONDS = 3.0
"""Node time that a bundle should be worth: enough for the cost of two task runs to disappear."""

BUNDLE_LEAST, BUNDLE_MOST = 64, 1024
"""Chunks in a bundle: fewer are not worth a task run, more take memory and are late to be stored."""

BUNDLES_AHEAD = 8
"""Bundles under way on top of those being parsed, so that the nodes' queue stays deep and memory bounded."""


@flow(
    name="ingest-pdfs",
    flow_run_name="ingest {source}",
    description="Bring a LanceDB table in step with a folder of PDFs, embedded by all nodes of a cluster.",
    task_runner=IngestTaskRunner(),  # type: ignore[arg-type]  # TaskRunner is invariant in its future
)
def ingest_pdfs(
    source: SourceParameter,
    cluster: NodesParameter = None,
    table: TableParameter = None,
    model: ModelParameter = None,
    dry_run: Annotated[
        bool, Field(title="Dry run", description="Show what would be done, and touch nothing.")
    ] = False,
    remove_missing: Annotated[
        bool,
        Field(title="Remove missing", description="Take documents out of the table whose file is gone."),
    ] = True,
    allow_empty: Annotated[
        bool,
        Field(title="Allow empty", description="Allow that all documents of the source are removed."),
    ] = False,
    retry_failed: Annotated[
        bool,
        Field(title="Retry failed", description="Try files again that failed before and did not change."),
    ] = False,
    pull: Annotated[
        bool | None,
        Field(
            title="Pull",
            description="Let nodes download the model if they lack it. Empty: as the cluster says.",
        ),
    ] = None,
    use_cache: Annotated[
        bool,
        Field(title="Use the cache", description="Keep vectors, so that no text is ever embedded twice."),
    ] = True,
    reading: Annotated[Reading, Field(title="Reading")] = AS_USUAL_READ,
    chunking: Annotated[Chunking, Field(title="Chunking")] = AS_USUAL_CUT,
) -> IngestReport:
    """Bring a table in step with a folder of PDFs.

    New and changed files are parsed, cut into chunks and embedded by all nodes at once; renamed ones move,
    vanished ones go, and the rest is not touched. Files that can't be read are named in the report and do not
    stop the others.

    Returns:
        What became of every file, and what each node did.

    Raises:
        ConfigurationError: A parameter or block cannot work; nothing was started.
        TableError: The table holds vectors of another model, chunker or prompt, or cannot be written.
        ClusterError: No node works. What was stored and embedded before is kept.

    Requires: the folder readable and the table writable on the machine that runs it; a node that can be reached
    from there, or none at all, and then the embedded model.
    """
    began = time.monotonic()
    place = table_of(table).to_spec()
    found = _open(place)
    plan = plan_source(
        source,
        Parcel(found),
        remove_missing=remove_missing,
        allow_empty=allow_empty,
        retry_failed=retry_failed,
    ).content
    run = _Run(_run_id(), plan, str(place), began)
    if dry_run:
        return run.report(dry_run=True, model=model or (found.identity.model if found else ""))
    if not plan.to_read:
        if found is not None:
            run.apply(found)
        return _published(run.report(model=found.identity.model if found else model or ""))
    wanted = model or (found.identity.model if found and cluster is None else None)
    ahead = BUNDLES_AHEAD + _start_workers(len(plan.to_read))
    with serving_cluster(cluster, model=wanted, pull=pull) as spec:
        proven = prove_nodes(Parcel(spec), len(spec.nodes))
        cutting = Cutting(reading.to_options(), chunking.to_options(), exact=_counts_exactly(spec.model.name))
        store = _open_for(place, proven, cutting, found)
        cache = CacheSpec(str(get_current_settings().home / "ollama-vectors")) if use_cache else None
        run.begin(store, proven)
        try:
            run.index(cutting, Embedding(run.run_id, proven, place, cache), ahead)
            run.finish()
        except BaseException:
            run.fail()
            raise
    return _published(run.report(model=spec.model.name))


@dataclass
class _Run:
    """One run, from its plan to its report."""

    run_id: str
    plan: Plan
    table: str
    began: float
    files: dict[str, FileReport] = field(default_factory=dict)
    store: Store | None = None
    proven: ProvenCluster | None = None
    by_node: Counter[str] = field(default_factory=Counter)
    figures: dict[str, tuple[NodeFigures, ...]] = field(default_factory=dict)
    embedded: int = 0
    reused: int = 0
    dropped: int = 0
    pages: int = 0
    chunks: int = 0
    node_seconds: float = 0.0

    def begin(self, store: Store, proven: ProvenCluster) -> None:
        self.store = store
        self.proven = proven
        store.begin_run(self.run_id, self.plan.source)
        settle_interrupted(store.runs())
        self._bookkeeping(store)

    def apply(self, store: Store) -> None:
        """Do what a plan asks for that has nothing to read."""
        plan = self.plan
        if plan.renamed or plan.touched or plan.removed or plan.refused:
            store.begin_run(self.run_id, plan.source)
            self._bookkeeping(store)
            store.end_run(counts=self._counts())

    def _bookkeeping(self, store: Store) -> None:
        plan = self.plan
        if plan.renamed:
            store.move(dict(plan.renamed))
        if plan.removed:
            store.remove([row.doc_id for row in plan.removed])
        if plan.touched or plan.refused:
            store.record([*plan.touched, *plan.refused])

    def index(self, cutting: Cutting, embedding: Embedding, ahead: int) -> None:
        """Parse, cut, embed and store, all at the same time: nodes work while later files are parsed.

        Args:
            cutting: How documents become chunks.
            embedding: What they are embedded with.
            ahead: Bundles under way at most.
        """
        assert self.store is not None
        files = self.plan.to_read
        again = frozenset(file.path for file in (*self.plan.changed, *self.plan.again))
        bundles = Bundles(self.plan.source, files, again, _bundle_chunks(embedding.cluster))
        writer = Writer(self.store)
        under_way = _UnderWay(Parcel(cutting), Parcel(embedding))
        left: ClusterError | None = None
        while len(under_way) or (len(bundles) and left is None):
            if left is None:
                under_way.start(_some(bundles, ahead - len(under_way)))
            bundle, result = under_way.next()
            if isinstance(result, EmbeddedBundle):
                bundles.learn(result.size, sum(len(each.chunks) for each in result.documents))
                self._count(result)
                writer.add(result)
            elif isinstance(result, ClusterError):
                left = result
            elif len(bundle.files) > 1 and left is None:
                # One of its files took the worker with it; alone, it takes no other along.
                under_way.start([replace(bundle, files=(file,)) for file in bundle.files])
            else:
                writer.add(_lost(bundle, result))
                self._note_failed(bundle, result)
        writer.flush()
        if left is not None:
            missing = len(files) - sum(1 for file in files if file.path in self.files)
            raise ClusterError(
                f"{missing} of {len(files)} files are left to do: {left.cause}",
                left=left.left,
                state="What was embedded before is stored or in the cache, and is not embedded again.",
                remedy="Bring a node back and run again.",
            ) from left

    def _count(self, bundle: EmbeddedBundle) -> None:
        for each in bundle.documents:
            row = replace(each.document, chunks=len(each.chunks))
            self.files[row.path] = FileReport.of(row, "partial" if row.status == "partial" else "stored")
            self.pages += row.pages
            self.chunks += row.chunks
        for row in bundle.failed:
            self.files[row.path] = FileReport.of(row, "failed")
        self.embedded += bundle.embedded
        self.reused += bundle.reused
        self.dropped += bundle.dropped
        self.node_seconds += bundle.node_seconds
        self.by_node.update(bundle.by_node)
        self.figures[bundle.worker] = bundle.nodes

    def _note_failed(self, bundle: Bundle, error: Exception) -> None:
        for file in bundle.files:
            self.files[file.path] = FileReport(file.path, "failed", reason=str(error))

    def finish(self) -> None:
        assert self.store is not None
        self.store.end_run(counts=self._counts())

    def fail(self) -> None:
        assert self.store is not None
        self.store.end_run(status="failed", counts=self._counts())

    def _counts(self) -> dict[str, float]:
        return {
            **{name: float(count) for name, count in self.plan.counts().items() if count},
            "chunks": self.chunks,
            "embedded": self.embedded,
            "reused": self.reused,
            "node_seconds": round(self.node_seconds, 3),
        }

    def report(self, *, model: str, dry_run: bool = False) -> IngestReport:
        plan = self.plan
        files = dict(self.files)
        for file in plan.to_read:
            files.setdefault(file.path, FileReport(file.path, "to do"))
        files |= {row.path: FileReport.of(row, "unchanged") for row in (*plan.unchanged, *plan.touched)}
        files |= {row.path: FileReport.of(row, "renamed") for _, row in plan.renamed}
        files |= {row.path: FileReport.of(row, "removed") for row in plan.removed}
        files |= {row.path: FileReport.of(row, "kept") for row in plan.kept}
        files |= {row.path: FileReport.of(row, "failed before") for row in plan.failed_before}
        files |= {row.path: FileReport.of(row, "failed") for row in plan.refused}
        left_out = {name: str(error) for name, error in self.proven.left_out.items()} if self.proven else {}
        return IngestReport(
            run_id=self.run_id,
            source=plan.source,
            table=self.table,
            model=model,
            dry_run=dry_run,
            files=tuple(files[path] for path in sorted(files)),
            pages=self.pages,
            chunks=self.chunks,
            embedded=self.embedded,
            reused=self.reused,
            dropped=self.dropped,
            seconds=time.monotonic() - self.began,
            node_seconds=self.node_seconds,
            nodes=node_reports(self.by_node, self.figures.values(), left_out),
        )


class _UnderWay:
    """Bundles on their way through the workers; they come back in the order in which they are done."""

    def __init__(self, cutting: Parcel[Cutting], embedding: Parcel[Embedding]) -> None:
        self._cutting = cutting
        self._embedding = embedding
        self._done: Completions[Any] = Completions()
        self._bundles: dict[Any, tuple[Bundle, IngestFuture[Any]]] = {}

    def __len__(self) -> int:
        return len(self._bundles)

    def start(self, bundles: list[Bundle]) -> None:
        if not bundles:
            return
        parsed = parse_bundle.map([Parcel(bundle) for bundle in bundles], cutting=unmapped(self._cutting))
        embedded = embed_bundle.map(parsed, embedding=unmapped(self._embedding))
        for bundle, before, after in zip(bundles, parsed, embedded, strict=True):
            self._bundles[after.task_run_id] = (bundle, before)  # type: ignore[assignment]
            self._done.add(after)  # type: ignore[arg-type]

    def next(self) -> tuple[Bundle, EmbeddedBundle | Exception]:
        future = next(self._done)
        bundle, before = self._bundles.pop(future.task_run_id)
        try:
            result: EmbeddedBundle | Exception = future.result().content
        except Exception as error:
            result = error
        future.release()
        before.release()
        return bundle, result


def _some(bundles: Bundles, most: int) -> list[Bundle]:
    return [bundle for _ in range(most) if (bundle := bundles.next()) is not None]


def _lost(bundle: Bundle, error: Exception) -> EmbeddedBundle:
    """A bundle of which nothing came back: its files are on the manifest as failed."""
    rows = tuple(
        Document(
            document_id(bundle.source, file.path),
            bundle.source,
            file.path,
            FAILED,
            file.size,
            file.mtime_ns,
            kind="lost",
            reason=str(error),
            remedy="Look at the file, and at the memory of the machine; retry it with `retry_failed`.",
        )
        for file in bundle.files
    )
    return EmbeddedBundle(bundle.number, 0, (), rows, 0, 0, 0, {}, 0.0, "", ())


def _bundle_chunks(cluster: ProvenCluster) -> int:
    """Chunks that the nodes embed in `BUNDLE_SECONDS`, going by their proofs."""
    rate = sum(len(proof.canaries) / proof.seconds for proof in cluster.proofs.values())
    return int(min(max(rate * BUNDLE_SECONDS, BUNDLE_LEAST), BUNDLE_MOST))


def _start_workers(files: int) -> int:
    """Start the workers while the nodes prove themselves; return how many parse, no more than there are files."""
    context = FlowRunContext.get()
    runner = context.task_runner if context else None
    if not isinstance(runner, IngestTaskRunner):
        return 2
    runner.parse_processes = min(runner.parse_processes, files)
    runner.client  # noqa: B018  # the first access starts them, and does not wait for them
    return runner.parse_processes


def _open(place: Any) -> Store | None:
    """The table, or None where there is none yet."""
    try:
        return Store.open(place)
    except TableMissing:
        return None


def _open_for(place: Any, proven: ProvenCluster, cutting: Cutting, found: Store | None) -> Store:
    """The table, made if need be, and held to be of the nodes' model and this cut."""
    spec = proven.spec.model
    identity = Identity(
        model=spec.name,
        digest=proven.reference.digest,
        dimension=proven.reference.dimension,
        document_prefix=spec.document_prefix,
        query_prefix=spec.query_prefix,
        chunker=cutting.identity,
    )
    if found is not None and found.identity.digest != identity.digest:
        same_size = found.identity.dimension == identity.dimension
        if same_size:
            with Dispatcher(proven) as dispatcher:
                if gives_stored_vectors(found, dispatcher):
                    get_run_logger().info(
                        "The nodes have another build of the table's model with the same vectors."
                    )
                    identity = replace(identity, digest=found.identity.digest, model=found.identity.model)
    return Store.open(place, identity=identity, create=True)


def _counts_exactly(model: str) -> bool:
    """Whether the model's own tokenizer is at hand."""
    if model.removesuffix(":latest") != MINILM:
        return False
    from prefect_ollama.blocks.embedded.tokens import count_tokens

    try:
        count_tokens("")
    except ModelFilesError as error:
        get_run_logger().info("Tokens are estimated: %s", error)
        return False
    return True


def _run_id() -> str:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    tries = context.flow_run.run_count
    return str(context.flow_run.id) + (f"-{tries}" if tries > 1 else "")


def _published(report: IngestReport) -> IngestReport:
    create_markdown_artifact(
        report.to_markdown(), key="ingest-report", description=f"Ingest of {report.source}"
    )
    return report
