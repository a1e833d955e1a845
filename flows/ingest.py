"""Bring a table in step with a folder of PDFs."""

import contextlib
import time
from collections.abc import Mapping
from typing import Annotated, Any

from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from prefect_ollama.blocks.errors import ServerLost, TableError, TableMissing
from prefect_ollama.blocks.lance import MaintenanceProcess, Store, StoreSpec, refuse_unwritable
from prefect_ollama.blocks.resolve import default_cache, limits_folder, resolve_cluster, resolve_table
from prefect_ollama.flows import parameters
from prefect_ollama.flows.base import (
    Advanced,
    addresses_fit,
    check_first,
    flow,
    refuse_empty_tabs,
    table_exists,
    unless_named,
)
from prefect_ollama.flows.ingestion import (
    BUNDLES_AHEAD,
    IngestRun,
    final_state,
    fits_table,
    open_checked,
    publish_report,
    run_bundles,
    with_table_context,
)
from prefect_ollama.flows.maintain import KEEP_DAYS, MEMORY_MB
from prefect_ollama.flows.parameters import has_own_model, shown
from prefect_ollama.flows.runner import IngestTaskRunner
from prefect_ollama.tasks.embedding import VectorSources, choose_counter, running_nodes
from prefect_ollama.tasks.maintain import maintain_store
from prefect_ollama.tasks.monitoring import serve_metrics, watch_run
from prefect_ollama.tasks.planning import ChunkingPlan, source_display_name
from prefect_ollama.tasks.prefect_state import Opaque, keep_home_private, label_flow_run, run_logger
from prefect_ollama.tasks.recover import needs_recovery, recover_store
from prefect_ollama.tasks.reporting import IngestReport
from prefect_ollama.tasks.scan import check_source, plan_source
from prefect_ollama.tasks.verify_nodes import verify_nodes


def _places_fit(given: Mapping[str, Any]) -> None:
    try:
        found = table_exists(given)
    except TableMissing:
        refuse_unwritable(resolve_table(given["table"]))
        found = None
    empty = given["advanced"].allow_empty
    check_source(given["source"], found, allow_empty=empty, exclude=given["exclude"])


@flow(
    name="ingest-pdfs",
    flow_run_name=unless_named(lambda given: f"ingest {source_display_name(given['source'])}"),
    description="Bring a LanceDB table in step with a folder of PDFs, embedded by all nodes of a cluster.",
    task_runner=IngestTaskRunner(),  # type: ignore[arg-type]  # TaskRunner is invariant in its future
)
@check_first(addresses_fit, _places_fit)
def ingest_pdfs(
    source: parameters.Source,
    cluster: parameters.Cluster = None,
    table: parameters.Table = None,
    model: parameters.Model = None,
    dry_run: Annotated[bool, shown("Dry run", "Show what would be done, and change nothing.")] = False,
    retry_failed: Annotated[
        bool, shown("Retry failed", "Try files again that failed before and did not change.")
    ] = False,
    rehash: Annotated[
        bool,
        shown("Rehash", "Read every file and compare its content, even if its size and time did not change."),
    ] = False,
    reread: Annotated[
        bool,
        shown(
            "Reread",
            "Read files again that did not change, if an earlier version of the parser or chunker read them. Only "
            "chunks whose text changes are embedded.",
        ),
    ] = False,
    exclude: parameters.Exclude = [],  # noqa: B006  # pydantic copies it, and the form shows it as it stands
    reading: parameters.Reading = parameters.DEFAULT_READING,
    chunking: parameters.Chunking = parameters.DEFAULT_CHUNKING,
    advanced: Annotated[
        Advanced, shown("Advanced", "Options that are rarely set.")
    ] = parameters.DEFAULT_ADVANCED,
) -> IngestReport:
    """Bring a table in step with a folder of PDFs.

    New and changed files are parsed, cut into chunks and embedded by all nodes at once; renamed ones move, vanished
    ones go, and the rest is not touched. Files that cannot be read are named in the report, and do not stop other
    files.

    Returns:
        What became of every file, and what each node did.

    Raises:
        ConfigurationError: A parameter or block cannot work; nothing was started.
        TableError: The table holds vectors of another model, chunker or prompt, or cannot be written.
        ClusterError: No node works. Stored documents and vectors are kept.
        DocumentsFailed: Files are not stored whole, and `fail_if_files_fail` is set; the rest is done.
        ServerLost: Prefect's server failed during the run, and did not come back; the rest is done.
        ModelFilesError: The table's chunks were counted with the embedded model's tokenizer, and it is not here.

    Requires: the folder readable and the table writable on the machine that runs it; a node that can be reached
    from there, or none at all, and then the embedded model.

    Examples:
        >>> from prefect_ollama.flows import ingest_pdfs
        >>> report = ingest_pdfs("papers", "http://gpu-box:11434", table="new-papers")
        >>> report.outcomes()
        {'stored': 2}
        >>> [(file.path, file.reason) for file in report.failed]
        []
    """
    began = time.monotonic()
    # First of all, because what follows may write into Prefect's home.
    keep_home_private()
    refuse_empty_tabs()
    label_flow_run()
    place = resolve_table(table)
    # Settings are read before anything starts, because a setting may have an invalid value.
    default = default_cache()
    cache = default if advanced.use_cache else None
    found: Store | None = None
    try:
        found = Store.open(place)
    except TableMissing:
        refuse_unwritable(place)
    known = found.identity if found is not None else None
    run_id, runner = _run_id(), _runner()
    wanted = model or (known.model if known is not None and not has_own_model(cluster) else None)
    # A dry run refuses nodes that are not there, too. No node is asked.
    resolve_cluster(cluster, model=wanted)
    # A new table has files to read for sure, so the process of the workers starts while the source is scanned.
    if found is None and not dry_run and runner:
        runner.prepare()
    # Before the plan, which reads the manifest that this repairs.
    if found is not None and not dry_run and needs_recovery(found):
        recover_store(Opaque(found), f"{run_id}-recover")
    plan = plan_source(
        source,
        Opaque(found),
        remove_missing=advanced.remove_missing,
        allow_empty=advanced.allow_empty,
        retry_failed=retry_failed,
        rehash=rehash,
        reread=reread,
        exclude=exclude,
    ).content
    run = IngestRun(run_id, plan, str(place), began)
    parse, chunk = reading.to_options(), with_table_context(chunking.to_options(), found)
    fits = known is None or fits_table(known, cluster, wanted, chunk)
    if dry_run:
        if known is not None and not fits:
            run_logger().warning(
                "The model, its options or the sizes of chunks differ from those of the table (model %r). A run with "
                "other vectors or sizes is refused, and changes nothing.",
                known.model,
            )
        return final_state(run.report(dry_run=True, model=wanted or ""), advanced)
    # From here on the run changes the table, and so appears in metrics.
    with serve_metrics(plan.source), run.metrics:
        # Nothing to read: no node is asked and no worker starts.
        if not plan.to_read and fits:
            if found is not None and plan.bookkeeping:
                run.begin(found)
                run.end()
            return final_state(publish_report(run, known.model if known is not None else ""), advanced)
        # One bundle for each process that parses; the others wait for the nodes or are being stored.
        ahead = BUNDLES_AHEAD + _start_workers(runner, len(plan.to_read))
        with (
            # None leaves it to the cluster, which may allow it for all runs.
            running_nodes(cluster, model=wanted, pull=advanced.pull or None) as spec,
            MaintenanceProcess() as maintenance_process,
        ):
            # Workers start meanwhile, see `_start_workers`.
            verified = verify_nodes(Opaque(spec), known)
            chunking_plan = ChunkingPlan(parse, chunk, choose_counter(known, verified))
            store = open_checked(place, verified, chunking_plan, found, spec.model.num_ctx)
            run.begin(store, verified)
            try:
                client = runner.client if runner else None
                with watch_run(plan, run.done, verified, client, run.metrics.see) as watch:
                    run.timeline = watch.timeline
                    embedding = VectorSources(run_id, verified, place, cache, watch.topic, limits_folder())
                    # A new table needs its indices in any case.
                    last = maintenance_process.start if found is None else None
                    run_bundles(run, chunking_plan, embedding, ahead, at_last=last)
                # Within `try`, so that a run whose end cannot be written is logged as failed.
                run.end()
                if runner:
                    runner.dismiss()
            except BaseException as error:
                run.end(status="failed")
                # After Ctrl-C no caller waits for a report. After an error the report shows what is stored.
                if isinstance(error, Exception):
                    with contextlib.suppress(ServerLost):
                        publish_report(run, spec.model.name)
                raise
            # After the run is in the table's log: maintenance may fail, and the run has done its work.
            _maintain(place, maintenance_process)
        return final_state(publish_report(run, spec.model.name), advanced)


def _runner() -> IngestTaskRunner | None:
    context = FlowRunContext.get()
    runner = context.task_runner if context else None
    return runner if isinstance(runner, IngestTaskRunner) else None


def _start_workers(runner: IngestTaskRunner | None, files: int) -> int:
    """Start the workers while nodes are verified; return how many of them parse, at most one for each file."""
    if runner is None or not files:
        # Another task runner does not say how many tasks it runs at a time.
        return 2
    runner.parse_processes = min(runner.parse_processes, files)
    runner.client  # noqa: B018  # the first access starts them, and does not wait for them
    return runner.parse_processes


def _run_id() -> str:
    # Names of runs are unique in a table's log, so a second try of a flow run needs another one.
    return f"{flow_run.id}-{flow_run.run_count}" if flow_run.run_count > 1 else str(flow_run.id)


def _maintain(place: StoreSpec, maintenance_process: MaintenanceProcess) -> None:
    """Run the maintenance that is due. A failed maintenance does not fail the run."""
    try:
        maintain_store(
            Opaque(place), Opaque(maintenance_process), force=False, keep_days=KEEP_DAYS, memory_mb=MEMORY_MB
        )
    except TableError as error:
        run_logger().warning("The maintenance of the table failed: %s", error)
