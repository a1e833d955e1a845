"""The commands. Exit status: 0 all well, 1 some files are not in the table or nothing works, 2 wrong usage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number

import prefect_ollama
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance.searching import Mode
from prefect_ollama.console import INCOMPLETE, OK, guarded, show
from prefect_ollama.node import node

app = App(
    name="prefect-ollama",
    version=prefect_ollama.__version__,
    help="Keep a searchable LanceDB table in step with folders of PDFs, embedded by all the Ollama nodes you have.",
    default_parameter=Parameter(negative_iterable=()),
    help_epilogue="Exit status: 0 all is well, 1 something is missing (the rest is done all the same), 2 wrong usage.",
)
app.command(node)

NodesOption = Annotated[
    tuple[str, ...],
    Parameter(
        name=["--node", "-n"],
        show_default=False,
        help="URL of a node, or name of a saved node block; may be given several times. "
        "Without: the node that OLLAMA_HOST names, else an Ollama on this host, else the embedded model.",
    ),
]
ClusterOption = Annotated[str | None, Parameter(help="Name of a saved cluster block, in place of --node.")]
ModelOption = Annotated[
    str | None,
    Parameter(name=["--model", "-m"], help="Embedding model; the table's or the cluster's otherwise."),
]
UriOption = Annotated[
    str | None,
    Parameter(
        help="Folder or object store URL of the table's database; `lancedb` in Prefect's home otherwise."
    ),
]
TableOption = Annotated[str | None, Parameter(help="Name of the table.")]
BlockOption = Annotated[
    str | None, Parameter(help="Name of a saved table block, in place of --uri and --table.")
]
JsonOption = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]


@app.command
def ingest(
    source: Annotated[list[str], Parameter(help="A folder with PDFs, a quoted glob pattern, or files.")],
    *,
    node: NodesOption = (),
    cluster: ClusterOption = None,
    model: ModelOption = None,
    uri: UriOption = None,
    table: TableOption = None,
    block: BlockOption = None,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Show what would be done, and touch nothing.")
    ] = False,
    keep_missing: Annotated[
        bool, Parameter(negative="", help="Keep documents in the table whose file is gone.")
    ] = False,
    allow_empty: Annotated[
        bool, Parameter(negative="", help="Allow that all documents of the source are removed.")
    ] = False,
    retry_failed: Annotated[
        bool, Parameter(negative="", help="Try files again that failed before and did not change.")
    ] = False,
    allow_partial: Annotated[
        bool, Parameter(negative="", help="Keep the pages read before a limit stopped the parser.")
    ] = False,
    pull: Annotated[
        bool, Parameter(negative="", help="Let nodes download the model if they lack it.")
    ] = False,
    ocr: Annotated[bool, Parameter(help="Read pages that are pictures of text.")] = True,
    ocr_language: Annotated[tuple[str, ...], Parameter(help="Tesseract's name of a language on them.")] = (
        "eng",
    ),
    cache: Annotated[bool, Parameter(help="Keep vectors, so that no text is ever embedded twice.")] = True,
    json: JsonOption = False,
) -> int:
    """Bring a table in step with a folder of PDFs."""

    def run() -> int:
        from prefect_ollama import render
        from prefect_ollama.flows import ingest_pdfs
        from prefect_ollama.flows.parameters import Reading

        report = ingest_pdfs(
            source[0] if len(source) == 1 else source,
            _nodes(node, cluster),
            _table(uri, table, block),
            model,
            dry_run=dry_run,
            remove_missing=not keep_missing,
            allow_empty=allow_empty,
            retry_failed=retry_failed,
            pull=pull or None,
            use_cache=cache,
            reading=Reading(
                ocr="auto" if ocr else "off", ocr_languages=list(ocr_language), allow_partial=allow_partial
            ),
        )
        show(report.to_dict() if json else render.report(report), json=json)
        return OK if report.ok else INCOMPLETE

    return guarded(run, json=json)


@app.command
def search(
    question: Annotated[str, Parameter(help="What you want to know.")],
    *,
    node: NodesOption = (),
    cluster: ClusterOption = None,
    model: ModelOption = None,
    uri: UriOption = None,
    table: TableOption = None,
    block: BlockOption = None,
    limit: Annotated[
        int,
        Parameter(
            name=["--limit", "-l"], help="Passages to show at most.", validator=Number(gte=1, lte=1000)
        ),
    ] = 5,
    mode: Annotated[Mode, Parameter(help="By meaning, by words (needs no node), or both.")] = "hybrid",
    source: Annotated[str | None, Parameter(help="Only documents of this source.")] = None,
    json: JsonOption = False,
) -> int:
    """Ask a table a question and get the best passages, each with file and page."""

    def run() -> int:
        from dataclasses import asdict

        from prefect_ollama import render
        from prefect_ollama.flows import search as search_flow

        hits = search_flow(
            question,
            _nodes(node, cluster),
            _table(uri, table, block),
            model,
            limit=limit,
            mode=mode,
            source=source,
        )
        show([asdict(hit) for hit in hits] if json else render.hits(hits), json=json)
        return OK if hits else INCOMPLETE

    return guarded(run, json=json)


@app.command
def nodes(
    *,
    node: NodesOption = (),
    cluster: ClusterOption = None,
    model: ModelOption = None,
    json: JsonOption = False,
) -> int:
    """Check the nodes: reachable, model there, vectors equal."""

    def run() -> int:
        from prefect_ollama import render
        from prefect_ollama.flows import check_nodes

        rows = check_nodes(_nodes(node, cluster), model)
        show([row.to_dict() for row in rows] if json else render.nodes(rows), json=json)
        return OK if rows and all(row.ok for row in rows) else INCOMPLETE

    return guarded(run, json=json)


def _nodes(node: tuple[str, ...], cluster: str | None) -> str | list[str] | None:
    if node and cluster:
        raise ConfigurationError("--node and --cluster are given both.", remedy="Give one of them.")
    return cluster or (list(node) or None)


def _table(uri: str | None, table: str | None, block: str | None) -> Any:
    from prefect_ollama.blocks.table import DEFAULT_TABLE, LanceTable, default_table

    if block is not None:
        if uri is not None or table is not None:
            raise ConfigurationError(
                "--block is given beside --uri or --table.", remedy="Give one or the other."
            )
        return LanceTable.load_named(block)
    if uri is None:
        uri = default_table().uri
    elif "://" not in uri:
        uri = str(Path(uri).expanduser().absolute())
    return LanceTable.made(uri=uri, table=table or DEFAULT_TABLE)
