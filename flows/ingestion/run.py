"""One run, from its plan to its report: the outcome of every file, and the run in the table's log."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from prefect_ollama.blocks.documents import PARTIAL, RUN_DONE, Document, Run
from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.nodes import VerifiedCluster
from prefect_ollama.tasks.dispatch import NodeStats
from prefect_ollama.tasks.embed import EmbeddedBundle
from prefect_ollama.tasks.monitoring import FailureEvents, RunMetrics, Timeline, efficiency
from prefect_ollama.tasks.parse import LeftOut
from prefect_ollama.tasks.planning import Plan, SourceFile
from prefect_ollama.tasks.prefect_state import settle_interrupted, source_assets
from prefect_ollama.tasks.publish import publish_run
from prefect_ollama.tasks.reporting import FileReport, IngestReport, Outcome, RunStatistics, node_reports


@dataclass
class IngestRun:
    """A run over one source.

    Attributes:
        run_id: Its name in the table's log.
        table: Address of the table.
        began: `time.monotonic()` at its start.
        timeline: Work of each node over time, for the report's chart.
        metrics: Its metrics for Prometheus.
    """

    run_id: str
    plan: Plan
    table: str
    began: float
    timeline: Timeline | None = None
    metrics: RunMetrics = field(default_factory=RunMetrics)
    _failures: FailureEvents = field(init=False)
    _ended: Run | None = None
    _files: dict[str, FileReport] = field(default_factory=dict)
    _store: Store | None = None
    _verified: VerifiedCluster | None = None
    _by_node: Counter[str] = field(default_factory=Counter)
    _node_stats: dict[str, tuple[NodeStats, ...]] = field(default_factory=dict)
    _statistics: RunStatistics = field(default_factory=RunStatistics)
    _worked: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        self._failures = FailureEvents(self.run_id)

    @property
    def store(self) -> Store:
        """The table, since the run began."""
        assert self._store is not None
        return self._store

    @property
    def to_do(self) -> int:
        """Number of files without an outcome yet."""
        return sum(file.path not in self._files for file in self.plan.to_read)

    @property
    def status(self) -> str:
        """Its final status; a run that had nothing to write is done."""
        return self._ended.status if self._ended is not None else RUN_DONE

    def done(self) -> tuple[int, RunStatistics]:
        """Return the number of files that are done, and their counters; may be called from another thread."""
        return len(self._files), self._statistics

    def begin(self, store: Store, verified: VerifiedCluster | None = None) -> None:
        """Begin to write, first the changes that need no reading: files that moved, are gone or cannot be documents.

        Args:
            verified: The nodes; None if there is nothing to read.
        """
        plan, self._store, self._verified = self.plan, store, verified
        model = str(verified.reference) if verified is not None else ""
        store.begin_run(self.run_id, plan.source, model=model)
        # The table's log names runs that were cut short, which Prefect still shows as running.
        settle_interrupted(store.runs())
        # Renamed documents move before others are removed: a new file may have the old path of another.
        if plan.renamed:
            store.move(dict(plan.renamed))
        if plan.moved:
            store.copy(dict(plan.moved))
        # A file that is refused now may have been a document before.
        doomed = [row.doc_id for row in (*plan.removed, *plan.newly_refused)]
        if doomed:
            store.remove(doomed)
        if plan.touched or plan.newly_refused:
            store.record([*plan.touched, *plan.newly_refused])
        self._failures.tell(plan.newly_refused)

    def count(self, bundle: EmbeddedBundle, *, embedded_now: bool) -> None:
        """Note the outcome of a bundle.

        Args:
            embedded_now: Whether this run embedded it. If it is false, an earlier run embedded the bundle, and this run
                only stores it.
        """
        for each in bundle.documents:
            row = replace(each.document, chunks=len(each.chunks))
            outcome: Outcome = "partial" if row.status == PARTIAL else "stored"
            self._files[row.path] = FileReport.of(row, outcome, bundle.left_out.get(row.path))
        counted = bundle.statistics if embedded_now else bundle.statistics.of_an_earlier_run()
        self._statistics += counted
        self.metrics.count(counted)
        self._report_failed(bundle.failed, bundle.left_out)
        self._failures.tell(each.document for each in bundle.documents if each.document.status == PARTIAL)
        if not embedded_now:
            return
        self._by_node.update(bundle.by_node)
        # Totals of the worker since its start, so that those of its last bundle replace the earlier ones.
        self._node_stats[bundle.worker] = bundle.nodes
        if bundle.worked is not None:
            began, ended = self._worked or bundle.worked
            self._worked = min(began, bundle.worked[0]), max(ended, bundle.worked[1])

    def note_failed(self, rows: Sequence[Document]) -> None:
        """Note the files of bundles that were lost."""
        self._statistics += RunStatistics(size=sum(row.size for row in rows))
        self._report_failed(rows, {})

    def end(self, *, status: str = "done") -> None:
        """End the run in the table's log."""
        self._ended = self.store.end_run(status=status, counts=self._counts())
        self._failures.end()

    def publish(self) -> None:
        """Publish it in Prefect if it changed the table."""
        if self._ended is not None:
            publish_run(self.store, self._ended, source_assets(self.plan.source, self._planned()))

    def report(self, *, model: str, dry_run: bool = False) -> IngestReport:
        """Return the report of the run, or of its plan in a dry run."""
        left_out = (
            {name: str(error) for name, error in self._verified.left_out.items()} if self._verified else {}
        )
        files = self._planned() | self._files
        return IngestReport(
            run_id=self.run_id,
            source=self.plan.source,
            table=self.table,
            model=model,
            dry_run=dry_run,
            files=tuple(files[path] for path in sorted(files)),
            version=self._version(),
            seconds=time.monotonic() - self.began,
            efficiency=self._efficiency(),
            nodes=node_reports(self._by_node, self._node_stats.values(), left_out),
            outdated=self.plan.outdated,
            notes=self.plan.notes,
            document_prefix=self._store.identity.document_prefix if self._store else "",
            query_prefix=self._store.identity.query_prefix if self._store else "",
            **self._statistics.counters(),
        )

    def _report_failed(self, rows: Sequence[Document], left_out: Mapping[str, LeftOut]) -> None:
        """Note files that failed."""
        self._files |= {row.path: FileReport.of(row, "failed", left_out.get(row.path)) for row in rows}
        self._failures.tell(rows)

    def _version(self) -> int:
        # Versions of a staging table are not those of the table that it becomes.
        if self._ended is None or self.store.spec.is_staging:
            return 0
        return self._ended.chunks_after or 0

    def _efficiency(self) -> float | None:
        if self._worked is None:
            return None
        began, ended = self._worked
        return efficiency(self._node_stats.values(), ended - began, ended)

    def _counts(self) -> dict[str, float]:
        return {
            # Without zeros: the log of a table lists what each run changed.
            **{name: float(count) for name, count in self.plan.counts().items() if count},
            "chunks": self._statistics.chunks,
            "embedded": self._statistics.embedded,
            "reused": self._statistics.reused,
            "node_seconds": round(self._statistics.node_seconds, 3),
        }

    def _planned(self) -> dict[str, FileReport]:
        """Return the planned outcome of every file; for files to read, why they are read."""
        plan = self.plan
        to_read: tuple[tuple[Sequence[SourceFile], Outcome], ...] = (
            (plan.new, "new"),
            (plan.changed, "changed"),
            (plan.again, "tried again"),
            (plan.reread, "reread"),
        )
        known: tuple[tuple[Sequence[Document], Outcome], ...] = (
            (plan.unchanged, "unchanged"),
            ([row for _, row in plan.renamed], "renamed"),
            ([row for _, row in plan.moved], "moved"),
            (plan.removed, "removed"),
            (plan.kept, "kept"),
            (plan.failed_before, "failed before"),
            (plan.refused, "failed"),
        )
        files = {file.path: FileReport(file.path, outcome) for some, outcome in to_read for file in some}
        for rows, outcome in known:
            for row in rows:
                partial = outcome in ("renamed", "moved") and row.status == PARTIAL
                files[row.path] = FileReport.of(row, "partial" if partial else outcome)
        return files
