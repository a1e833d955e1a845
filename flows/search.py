"""Ask a table a question."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from prefect_ollama.blocks.documents import Found
from prefect_ollama.blocks.lance import Mode
from prefect_ollama.flows import parameters
from prefect_ollama.flows.base import (
    addresses_fit,
    check_first,
    filter_fits,
    flow,
    refuse_empty_tabs,
    unless_named,
)
from prefect_ollama.flows.parameters import shown
from prefect_ollama.tasks.answer import search_table, show_pages
from prefect_ollama.tasks.prefect_state import Opaque
from prefect_ollama.tasks.searching import JUDGE, RERANK_TIMEOUT_S, Connections, open_corpus, reranker_of


def _can_judge(given: Mapping[str, Any]) -> None:
    """Check the parameters, and that a chat model is named that can judge, as far as no saved block is named."""
    reranker = (given["reranker"] or "").strip()
    store, only_addresses = filter_fits(given), addresses_fit(given)
    if store is not None and only_addresses and reranker.partition(":")[0] == JUDGE:
        judge = reranker_of(reranker)
        Connections(store, given["cluster"], given["model"], None, None, reranker=judge).refuse_no_judge()


@flow(
    name="search",
    flow_run_name=unless_named(lambda given: f"search {given['question']}"),
    description="Ask a LanceDB table a question.",
)
@check_first(_can_judge)
def search(
    question: parameters.Question,
    cluster: parameters.Cluster = None,
    table: parameters.Table = None,
    model: parameters.Model = None,
    limit: Annotated[int, shown("Limit", "Maximum number of passages to return.", ge=1, le=1000)] = 5,
    mode: Annotated[
        Mode, shown("Mode", "`vector` by meaning, `text` by words (needs no node), `hybrid` by both.")
    ] = "hybrid",
    source: parameters.PassageSource = None,
    only: parameters.Only = parameters.EVERYTHING,
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
    options = {
        "mode": mode,
        "limit": limit,
        "only": only.to_filter(source),
        "one_per_document": one_per_document,
    }
    with open_corpus(table, cluster, model=model, reranker=reranker, rerank_timeout=rerank_timeout) as corpus:
        found = search_table(Opaque(corpus), question, options)
    if show and found:
        show_pages(question, Opaque(found))
    return found
