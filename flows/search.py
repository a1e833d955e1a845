"""Ask a table a question."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

from pydantic import Field

from prefect_ollama.blocks.documents import Found
from prefect_ollama.blocks.lance import Mode
from prefect_ollama.blocks.resolve import resolve_table
from prefect_ollama.flows.base import flow, refuse_empty_tabs, unless_named
from prefect_ollama.flows.parameters import (
    EVERYTHING,
    ModelParameter,
    NodesParameter,
    OnlyParameter,
    PassageSourceParameter,
    QuestionParameter,
    TableParameter,
    shown,
)
from prefect_ollama.tasks.prefect_state import Opaque
from prefect_ollama.tasks.query import (
    SearchOptions,
    embed_question,
    rerank_passages,
    search_table,
    show_pages,
)
from prefect_ollama.tasks.searching import (
    RERANK_TIMEOUT_S,
    normalised,
    open_for_search,
    question_note,
    reranker_of,
)
from prefect_ollama.tasks.verify_nodes import nodes_for_questions


@flow(
    name="search",
    flow_run_name=unless_named(lambda given: f"search {given['question']}"),
    description="Ask a LanceDB table a question.",
)
def search(
    question: QuestionParameter,
    cluster: NodesParameter = None,
    table: TableParameter = None,
    model: ModelParameter = None,
    limit: Annotated[int, shown("Limit", "Passages to return at most.", ge=1, le=1000)] = 5,
    mode: Annotated[
        Mode,
        shown("Mode", "`vector` by meaning, `text` by words (needs no node), `hybrid` by both."),
    ] = "hybrid",
    source: PassageSourceParameter = None,
    only: OnlyParameter = EVERYTHING,
    one_per_document: Annotated[
        bool, shown("One per document", "Return the best passage of each document only.")
    ] = False,
    show: Annotated[
        bool,
        shown(
            "Show pages", "Draw the pages, the passages marked, into an artifact; the files must be there."
        ),
    ] = False,
    reranker: Annotated[
        Annotated[str, Field(min_length=1, title="Name or URL")] | Annotated[None, Field(title="None")],
        shown(
            "Reranker",
            "What reranks the passages: URLs of servers (llama-server, vLLM, TEI; http://gpu-box:8012/v1) or names of "
            "saved OpenAI Compatible Nodes, separated by commas; or `judge` for the judge or chat model of the nodes, "
            "`judge:MODEL` for another one. If it fails, the order of the search stays.",
        ),
    ] = None,
    rerank_timeout: Annotated[
        float, shown("Time to rerank", "Seconds for the reranker's answer.", gt=0, le=3600)
    ] = RERANK_TIMEOUT_S,
) -> Found:
    """Ask a table a question and get the best passages, each with file and page.

    Returns:
        The passages, the best first.

    Raises:
        ConfigurationError: A parameter or block cannot work, or a filter fits no document.
        TableError: There is no such table, or it holds vectors of another model than the nodes'.
        ClusterError: No node works (search by words needs none).

    Requires: the table readable on the machine that runs it; for `vector` and `hybrid` a node with the table's
    model, or the embedded model if the table was made with it.

    Examples:
        >>> from prefect_ollama.flows import search
        >>> hits = search("Why does the tide rise twice a day?", "http://gpu-box:11434", "papers", limit=1, mode="text")
        >>> hits[0].path, hits[0].page_from
        ('tides.pdf', 1)
    """
    refuse_empty_tabs()
    store = open_for_search(resolve_table(table))
    opened, asked = Opaque(store), normalised(question)
    ranker = reranker_of(reranker, timeout=rerank_timeout)
    # A reranker has to see more passages than it returns, or it could only sort them.
    wanted = limit if ranker is None else ranker.candidates(limit)
    options = SearchOptions(wanted, mode, only.to_filter(source).condition(store.manifest), one_per_document)
    # A search by words alone needs no node, so a table can be searched while all nodes are down.
    asks_nodes = mode != "text" or (ranker is not None and ranker.judges)
    at = nodes_for_questions(store, cluster, model) if asks_nodes else nullcontext((None, None))
    vector, notes = None, []
    with at as (spec, dispatcher):
        if mode != "text":
            assert dispatcher is not None
            vector = embed_question(asked, Opaque(dispatcher), opened)
            notes.append(question_note(asked, dispatcher.cluster))
        found = search_table(opened, vector, asked, options)
        # A judge is a model of these nodes, so it is asked before they are closed.
        if ranker is not None and found:
            nodes, judging = Opaque(dispatcher), Opaque(spec)
            found, note = rerank_passages(Opaque(ranker), question, Opaque(found), limit, nodes, judging)
            notes.append(note)
    if show and found:
        show_pages(question, Opaque(found))
    return Found(found, question=question, notes=[each for each in notes if each])
