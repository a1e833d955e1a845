"""`prefect-ollama search`: ask a table."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from prefect_ollama.console import INCOMPLETE, OK, guarded, show
from prefect_ollama.options import (
    NORMAL,
    BlockOption,
    ClusterOption,
    JsonOption,
    Loudness,
    ModelOption,
    NodesOption,
    TableOption,
    UriOption,
    named_nodes,
    named_table,
)

# The same as `blocks.lance.searching.Mode`, which takes a second to import.
Mode = Literal["vector", "text", "hybrid"]


def search(
    question: Annotated[
        list[str],
        Parameter(
            help="What you want to know. Without quotes its words are joined; the shell keeps `?` and `*`."
        ),
    ],
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
    loud: Loudness = NORMAL,
) -> int:
    """Ask a table a question and get the best passages, each with file and page."""

    def run() -> int:
        from dataclasses import asdict

        from prefect_ollama import render
        from prefect_ollama.flows import search as flow

        hits = flow(
            " ".join(question),
            named_nodes(node, cluster),
            named_table(uri, table, block),
            model,
            limit=limit,
            mode=mode,
            source=source,
        )
        show([asdict(hit) for hit in hits] if json else render.hits(hits), json=json)
        return OK if hits else INCOMPLETE

    return guarded(run, json=json, loud=loud)
