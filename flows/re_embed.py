"""Embed all documents of a table anew: with another model, prompt or chunker."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow
from prefect.assets import Asset
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.types import SecretDict

from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import PARTIAL, STORED, Document, Run, Store
from prefect_ollama.blocks.printable import printable
from prefect_ollama.blocks.resolve import resolve_table
from prefect_ollama.blocks.table import LanceTable
from prefect_ollama.flows.form import refuse_empty_tabs
from prefect_ollama.flows.ingest import ingest_pdfs
from prefect_ollama.flows.parameters import (
    AS_USUAL_CUT,
    AS_USUAL_READ,
    ChunkingParameter,
    ExcludeParameter,
    ModelParameter,
    NodesParameter,
    ReadingParameter,
    TableParameter,
    spoken_table,
)
from prefect_ollama.tasks.assets import source_assets
from prefect_ollama.tasks.home import keep_home_private
from prefect_ollama.tasks.interrupted import sign_flow_run
from prefect_ollama.tasks.planning.source import LISTED
from prefect_ollama.tasks.publish import publish_run
from prefect_ollama.tasks.report import IngestReport


@dataclass(frozen=True, slots=True)
class ReEmbedPreview:
    """What `re_embed` would do.

    Attributes:
        table: Where the table is.
        sources: Sources whose files are read again.
        documents: Documents that are read again.
        chunks: Their chunks as they are now.
        tokens: Tokens in those.
        node_seconds: Time that nodes spent on them, in seconds.
        data_bytes: Size of the chunk table.
    """

    table: str
    sources: tuple[str, ...]
    documents: int
    chunks: int
    tokens: int
    node_seconds: float
    data_bytes: int


def preview_re_embed(table: LanceTable | str | None = None) -> ReEmbedPreview:
    """What `re_embed` would read and embed. Not a flow: it only looks.

    Raises:
        TableMissing: There is no such table.
    """
    store = Store.open(resolve_table(table))
    rows = [row for row in store.manifest() if row.status in (STORED, PARTIAL)]
    return ReEmbedPreview(
        table=str(store.spec),
        sources=tuple(sorted({row.source for row in rows})),
        documents=len(rows),
        chunks=sum(row.chunks for row in rows),
        tokens=sum(row.tokens for row in rows),
        node_seconds=sum(row.node_seconds for row in rows),
        data_bytes=store.stats().data_bytes,
    )


def _name() -> str:
    return printable(f"re-embed {spoken_table(flow_run.parameters['table'])}", longest=200)


@flow(
    name="re-embed",
    flow_run_name=_name,
    description="Embed all documents of a LanceDB table anew, and swap them in when all are there.",
)
def re_embed(
    table: TableParameter = None,
    cluster: NodesParameter = None,
    model: ModelParameter = None,
    reading: ReadingParameter = AS_USUAL_READ,
    chunking: ChunkingParameter = AS_USUAL_CUT,
    exclude: ExcludeParameter = [],  # noqa: B006  # pydantic copies it, and the form shows it as it stands
) -> Run:
    """Embed all documents of a table anew, with another model, prompt or chunker.

    The new table is built beside the old one, from the files themselves, and takes its place in one commit at the
    end; until then readers have the old one. A run that was cut short goes on where it was. The swap is a run of
    its own, which `roll_back` undoes.

    Returns:
        The run that swapped.

    Raises:
        TableMissing: There is no such table.
        TableError: A document of the table could not be read or embedded again; nothing was swapped.
        ClusterError: No node works; what was embedded is kept beside.

    Requires: the table's sources readable, and twice the table's room for the time it takes.
    """
    keep_home_private()
    refuse_empty_tabs()
    sign_flow_run()
    place = resolve_table(table)
    store = Store.open(place)
    before = [row for row in store.manifest() if row.status in (STORED, PARTIAL)]
    beside = LanceTable(
        uri=place.uri,
        table=place.beside.table,
        storage_options=SecretDict(place.options),
    )
    reports = [
        ingest_pdfs(
            source,
            cluster,
            beside,
            model,
            reading=reading,
            chunking=chunking,
            retry_failed=True,
            exclude=exclude,
        )
        for source in _sources(before)
    ]
    _refuse_losses(before, reports)
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    swapped = store.swap_in(str(context.flow_run.id))
    publish_run(store, swapped, _assets(before))
    return swapped


def _sources(rows: list[Document]) -> list[str | list[str]]:
    """What `ingest_pdfs` was called with to get these documents, as far as their manifest rows tell."""
    names = sorted({row.source for row in rows})
    return [
        sorted(row.path for row in rows if row.source == LISTED) if name == LISTED else name for name in names
    ]


def _assets(rows: list[Document]) -> list[Asset]:
    names = sorted({row.source for row in rows})
    return [
        asset
        for name in names
        for asset in source_assets(name, (row.path for row in rows if row.source == name))
    ]


def _refuse_losses(before: list[Document], reports: list[IngestReport]) -> None:
    stored = {(row.source, row.path) for row in before}
    lost = [
        file
        for report in reports
        for file in report.failed
        if file.outcome != "partial" and (report.source, file.path) in stored
    ]
    if lost:
        raise TableError(
            f"{len(lost)} documents of the table could not be embedded again, the first: "
            f"{lost[0].path!r} ({lost[0].reason})",
            state="Nothing was swapped; what was embedded is kept beside.",
            remedy="Repair these files, or take them out of their folder, and run again.",
        )
