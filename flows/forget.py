"""Remove documents from a table: those of a source that is gone, or any that a user names."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from prefect.runtime import flow_run
from pydantic import BeforeValidator, Field

from prefect_ollama.blocks.documents import Document, Run
from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.blocks.resolve import resolve_table
from prefect_ollama.blocks.table import LanceTable
from prefect_ollama.flows import parameters
from prefect_ollama.flows.base import check_first, flow, refuse_empty_tabs, table_exists, unless_named
from prefect_ollama.flows.parameters import Name, as_source, shown
from prefect_ollama.tasks.planning import documents_named, notes_on
from prefect_ollama.tasks.prefect_state import label_flow_run, run_logger, source_assets
from prefect_ollama.tasks.publish import publish_run


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A document that was removed from a table, or would be.

    Attributes:
        source: Its source.
        path: Its path within the source.
        status: What it was: `stored`, `partial`, `failed` or `stale`.
        chunks: Its rows in the chunk table.
    """

    source: str
    path: str
    status: str
    chunks: int


@dataclass(frozen=True, slots=True)
class ForgetReport:
    """The documents that were removed from a table, or would be.

    Attributes:
        table: Where the table is.
        dry_run: Whether this is only what would be done.
        documents: The documents, by source and path.
        notes: Notes for the user, a sentence or two each.
        runs: Names of the runs that did it, one for each source; `roll_back` takes each.
    """

    table: str
    dry_run: bool
    documents: tuple[Forgotten, ...]
    notes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()

    @property
    def chunks(self) -> int:
        """Chunks of all documents."""
        return sum(each.chunks for each in self.documents)

    @property
    def sources(self) -> dict[str, int]:
        """Number of documents by source."""
        return dict(Counter(each.source for each in self.documents))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "chunks": self.chunks, "sources": self.sources}


def forgettable(
    what: str | Sequence[str], table: LanceTable | str | None = None, source: str | None = None
) -> ForgetReport:
    """Return what `forget` would remove from a table. This is not a flow and changes nothing.

    Raises:
        TableMissing: The table does not exist.
        ConfigurationError: The table has no such document.

    Examples:
        >>> from prefect_ollama.flows import forgettable
        >>> [document.path for document in forgettable("tides.pdf", "papers").documents]
        ['tides.pdf']
    """
    return _planned(as_source(what), Store.open(resolve_table(table)), source)[0]


def _name(given: Mapping[str, Any]) -> str:
    what = given["what"]
    return f"forget {what if isinstance(what, str) else what[0] if len(what) == 1 else f'{len(what)} names'}"


@flow(
    name="forget",
    flow_run_name=unless_named(_name),
    description="Remove documents from a LanceDB table, by source, path or pattern.",
)
@check_first(table_exists)
def forget(
    what: Annotated[
        Annotated[str, Field(min_length=1, title="Source, path or pattern")]
        | Annotated[list[str], Field(min_length=1, title="Several")],
        BeforeValidator(as_source),
        shown(
            "Documents",
            "A source as reports name it, the path of a document, a folder, or a glob pattern. The files need not "
            "exist any more.",
        ),
    ],
    table: parameters.Table = None,
    source: Annotated[
        Name | Annotated[None, Field(title="All")],
        shown("Source", "Only documents of this source; `files` for those that were named one by one."),
    ] = None,
    dry_run: Annotated[bool, shown("Dry run", "Show what would be removed, and change nothing.")] = False,
) -> ForgetReport:
    """Take documents out of a table, with their chunks. Files are not touched.

    The documents of each source are taken out by a run of its own, which `roll_back` undoes. If it is killed, call it
    again: it goes on from there.

    Returns:
        The documents and the runs.

    Raises:
        ConfigurationError: The table has no such document; nothing was changed.
        TableMissing: The table does not exist.
        TableError: A run over one of the sources is open, or the table cannot be written.

    Requires: the table writable on the machine that runs it.

    Examples:
        >>> from prefect_ollama.flows import forget
        >>> report = forget("tides.pdf", "papers", dry_run=True)
        >>> [document.path for document in report.documents]
        ['tides.pdf']
    """
    refuse_empty_tabs()
    label_flow_run()
    store = Store.open(resolve_table(table))
    report, documents = _planned(what, store, source)
    # In the log too: a run by a schedule has no reader of its result.
    for note in report.notes:
        run_logger().warning("%s", note)
    if dry_run:
        return report
    runs: list[Run] = []
    # A run for each source, because a run can be rolled back only for one source.
    for name in dict.fromkeys(row.source for row in documents):
        rows = [row for row in documents if row.source == name]
        # Names of runs are unique in the log of a table.
        run_id = str(flow_run.id) + (f"-{len(runs) + 1}" if runs else "")
        runs.append(store.forget(run_id, name, [row.doc_id for row in rows]))
        run_logger().info("Removed %s of %s from the table", quantity(len(rows), "document"), name)
        publish_run(store, runs[-1], source_assets(name, (row.path for row in rows)))
    return replace(report, dry_run=False, runs=tuple(run.run_id for run in runs))


def _planned(
    what: str | Sequence[str], store: Store, source: str | None
) -> tuple[ForgetReport, list[Document]]:
    """Return the report of a dry run, and the documents."""
    manifest = store.manifest()
    documents = documents_named([what] if isinstance(what, str) else what, manifest, source=source)
    forgotten = tuple(Forgotten(row.source, row.path, row.status, row.chunks) for row in documents)
    return ForgetReport(str(store.spec), True, forgotten, tuple(notes_on(documents, manifest))), documents
