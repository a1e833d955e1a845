"""`prefect-ollama search`: ask a table."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from prefect_ollama.console import INCOMPLETE, OK, STARTING, guarded, show
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
    named_place,
    named_table,
)

SEARCHING = "Searching…"

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
    track: Annotated[
        bool, Parameter(negative="", help="Record the search as a flow run in Prefect; that takes seconds.")
    ] = False,
    json: JsonOption = False,
    loud: Loudness = NORMAL,
) -> int:
    """Ask a table a question and get the best passages, each with file and page."""

    def run() -> int:
        from dataclasses import asdict

        from prefect_ollama import render_hits

        words, at = " ".join(question), named_nodes(node, cluster)
        if track:
            from prefect_ollama.flows import search as flow

            place = named_table(uri, table, block)
            hits = flow(words, at, place, model, limit=limit, mode=mode, source=source)
        else:
            from prefect_ollama.tasks.searching import Corpus

            with Corpus(named_place(uri, table, block), at, model=model) as corpus:
                hits = corpus.search(words, mode=mode, limit=limit, source=source)
        show([asdict(hit) for hit in hits] if json else render_hits.hits(hits), json=json)
        return OK if hits else INCOMPLETE

    return guarded(run, json=json, loud=loud, first=STARTING if track else SEARCHING, prefect=track)
