"""Embed all documents of a table again: with another model, prompt or chunker."""

import logging
from collections.abc import Sequence

from prefect.runtime import flow_run
from prefect.types import SecretDict

from prefect_ollama.blocks.cluster import Nodes
from prefect_ollama.blocks.documents import PARTIAL, STORED, Document, Run
from prefect_ollama.blocks.errors import TableError, TableMissing
from prefect_ollama.blocks.lance import Store, StoreSpec, drop
from prefect_ollama.blocks.nodes import VerifiedCluster, compare
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.blocks.resolve import default_cache, resolve_table
from prefect_ollama.blocks.table import LanceTable
from prefect_ollama.flows import parameters
from prefect_ollama.flows.base import (
    addresses_fit,
    check_first,
    flow,
    refuse_empty_tabs,
    table_exists,
    unless_named,
)
from prefect_ollama.flows.ingest import ingest_pdfs
from prefect_ollama.flows.parameters import has_own_model, table_display_name
from prefect_ollama.tasks.embedding import running_nodes
from prefect_ollama.tasks.planning import LISTED
from prefect_ollama.tasks.prefect_state import (
    Opaque,
    keep_home_private,
    label_flow_run,
    run_logger,
    source_assets,
)
from prefect_ollama.tasks.publish import publish_run
from prefect_ollama.tasks.re_embed_cost import ReEmbedCost, compare_files, estimate_cost
from prefect_ollama.tasks.reporting import IngestReport
from prefect_ollama.tasks.verify_nodes import verify_nodes


@flow(
    name="re-embed",
    flow_run_name=unless_named(lambda given: f"re-embed {table_display_name(given['table'])}"),
    description="Embed all documents of a LanceDB table again, and replace the table when all are embedded.",
)
@check_first(addresses_fit, table_exists)
def re_embed(
    table: parameters.Table = None,
    cluster: parameters.Cluster = None,
    model: parameters.Model = None,
    reading: parameters.Reading = parameters.DEFAULT_READING,
    chunking: parameters.Chunking = parameters.DEFAULT_CHUNKING,
    exclude: parameters.Exclude = [],  # noqa: B006  # pydantic copies it, and the form shows it as it stands
) -> Run:
    """Embed all documents of a table again, with another model, prompt or chunker.

    Without a model the table's own is used. A re-embedding repairs a table whose nodes now give other vectors, for
    example after an update of Ollama. The log shows the cost before the work begins (`re_embed_cost` shows it alone).

    The new table is built beside the old one, from the files themselves, and takes its place in one commit at the
    end; until then readers have the old one. A run that was cut short goes on where it was. The swap is a run of
    its own, which `roll_back` undoes.

    Returns:
        The run that swapped.

    Raises:
        TableMissing: The table does not exist.
        TableError: A document of the table could not be read or embedded again; nothing was swapped.
        ClusterError: No node works; what was embedded is kept beside.

    Requires: the table's sources readable, and room for a second table while it runs.

    Examples:
        >>> from prefect_ollama.flows import re_embed
        >>> run = re_embed("papers", "http://gpu-box:11434", "nomic-embed-text")
        >>> run.kind, run.status
        ('re-embed', 'done')
    """
    keep_home_private()
    refuse_empty_tabs()
    label_flow_run()
    place = resolve_table(table)
    store = Store.open(place)
    before = [row for row in store.manifest() if row.status in (STORED, PARTIAL)]
    # Sorted, so that an attempt after an interruption reads the sources in the same order.
    sources = sorted({row.source for row in before})
    listed = sorted(row.path for row in before if row.source == LISTED)
    wanted = _model(store, cluster, model)
    # Before the work, so that a user can stop an expensive one.
    cost = _cost(store, cluster, wanted, exclude, place.staging)
    run_logger().log(logging.WARNING if cost.losses else logging.INFO, "%s", cost)
    # Beside the old table, and under the same name each time, so that an interrupted run finds its own work again.
    staging = LanceTable(uri=place.uri, table=place.staging.table, storage_options=SecretDict(place.options))
    reports = [
        ingest_pdfs(
            # Files that were named one by one have no folder to scan.
            listed if name == LISTED else name,
            cluster,
            staging,
            wanted,
            reading=reading,
            chunking=chunking,
            # A file that failed in an interrupted attempt may be readable now.
            retry_failed=True,
            exclude=exclude,
        )
        for name in sources
    ]
    # Before the swap: a document that is lost here would be gone for readers.
    _refuse_losses(before, reports)
    swapped = store.swap_in(str(flow_run.id))
    publish_run(store, swapped, [asset for name in sources for asset in source_assets(name, listed)])
    return swapped


@flow(
    name="re-embed-cost",
    flow_run_name=unless_named(lambda given: f"cost of {table_display_name(given['table'])}"),
    description="Show what it costs to embed a LanceDB table again: texts, time, and what is in the cache.",
)
@check_first(addresses_fit, table_exists)
def re_embed_cost(
    table: parameters.Table = None,
    cluster: parameters.Cluster = None,
    model: parameters.Model = None,
    exclude: parameters.Exclude = [],  # noqa: B006  # pydantic copies it, and the form shows it as it stands
) -> ReEmbedCost:
    """Return what `re_embed` with these parameters would cost. Nodes embed some of the table's texts to measure it.

    Raises:
        TableMissing: The table does not exist.
        ConfigurationError: A source of the table is not there.
        ClusterError: No node works.

    Requires: the table and its sources readable on the machine that runs it, and the nodes.

    Examples:
        >>> from prefect_ollama.flows import re_embed_cost
        >>> cost = re_embed_cost("papers", "http://gpu-box:11434")
        >>> cost.documents, cost.texts > 0
        (2, True)
    """
    keep_home_private()
    refuse_empty_tabs()
    store = Store.open(resolve_table(table))
    return _cost(store, cluster, _model(store, cluster, model), exclude)


def _model(store: Store, cluster: Nodes | None, model: str | None) -> str | None:
    """Return the named model, or the table's own; None if the cluster names one itself."""
    return model or (None if has_own_model(cluster) else store.identity.model)


def _cost(
    store: Store,
    cluster: Nodes | None,
    model: str | None,
    exclude: Sequence[str],
    staging: StoreSpec | None = None,
) -> ReEmbedCost:
    """Return the cost; if `staging` is given, drop what an earlier attempt made with another model."""
    # Before the nodes are started and verified, which takes longer.
    files = Opaque(compare_files(store.manifest(), exclude))
    cache = default_cache()
    with running_nodes(cluster, model=model) as spec:
        verified = verify_nodes(Opaque(spec))
        if staging is not None:
            _drop_other_model(staging, verified)
        return estimate_cost(Opaque(store), verified, cache, files)


def _drop_other_model(staging: StoreSpec, verified: VerifiedCluster) -> None:
    try:
        begun = Store.open(staging).identity.fingerprint
    except TableMissing:
        return
    if begun is not None and not compare(verified.reference, begun).same:
        run_logger().warning(
            "An earlier attempt embedded with another model (%s). Its vectors are deleted.", begun
        )
        # Its vectors cannot be mixed with those of this model, and its name is needed again.
        drop(staging)


def _refuse_losses(before: list[Document], reports: list[IngestReport]) -> None:
    stored = {(row.source, row.path) for row in before}
    lost = [
        file
        for report in reports
        for file in report.failed
        # A partial document has passages, as it had before; its problem is in its report.
        if file.outcome != "partial" and (report.source, file.path) in stored
    ]
    if lost:
        raise TableError(
            f"{quantity(len(lost), 'document')} of the table could not be embedded again, the first: "
            f"{lost[0].path!r} ({lost[0].reason})",
            state="The table was not replaced. The vectors of the new table are kept.",
            remedy="Repair these files, or remove them from their folder, and run again.",
        )
