"""Answer a question: embed it, ask the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Final

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import task_run

from prefect_ollama.blocks.documents import Hit
from prefect_ollama.blocks.errors import ClusterError
from prefect_ollama.blocks.lance import Mode, Store
from prefect_ollama.blocks.nodes import ClusterSpec, Vectors
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.dispatch import Dispatcher
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque, counted_name
from prefect_ollama.tasks.reporting import picture_markdown
from prefect_ollama.tasks.searching import Reranker, not_reordered, page_pictures, refuse_other_vectors

# Pages in an artifact: each takes some 100 KB in Prefect's database.
SHOWN_PAGES: Final = 10

# Dots per inch: less than for files, because Prefect keeps artifacts in its database.
SHOWN_DPI: Final = 72
# Key of the artifact, one for all searches.
PAGES: Final = "search-pages"


@task(name="embed question", task_run_name="embed the question", **UNCACHED)
def embed_question(question: str, dispatcher: Opaque[Dispatcher], store: Opaque[Store]) -> Opaque[Vectors]:
    """Embed a question on the fastest node, after a check that the nodes give the table's vectors.

    Raises:
        TableError: The nodes' model is not the one that the table was made with.
        TextError: The question cannot be embedded.
    """
    refuse_other_vectors(store.content, dispatcher.content)
    return Opaque(question_vector(question, dispatcher.content))


def question_vector(question: str, nodes: Dispatcher) -> Vectors:
    """Return the vector of a question.

    Raises:
        ClusterError: No node works any more.
        TextError: The question cannot be embedded.
    """
    embedded = nodes.embed([question], kind="query")
    # The only text is the question, so there is at most one error.
    for error in embedded.failures.values():
        raise error
    vector: Vectors = embedded.vectors[0]
    return vector


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Options of a search.

    Attributes:
        limit: Passages at most.
        mode: By meaning, by words or by both.
        where: SQL filter, or empty.
        one_per_document: Whether only the best passage of each document is returned.
    """

    limit: int
    mode: Mode
    where: str = ""
    one_per_document: bool = False


def _search_name() -> str:
    options: SearchOptions = task_run.parameters["options"]
    return f"search {quantity(options.limit, 'passage')}, {options.mode}"


@task(name="search table", task_run_name=_search_name, **UNCACHED)
def search_table(
    store: Opaque[Store], vector: Opaque[Vectors] | None, question: str, options: SearchOptions
) -> list[Hit]:
    """Ask the table for the best passages."""
    query = None if vector is None else vector.content
    return store.content.search(query, text=question, **asdict(options))


@task(name="rerank passages", task_run_name=counted_name("rerank", "passage", of="hits"), **UNCACHED)
def rerank_passages(
    reranker: Opaque[Reranker],
    question: str,
    hits: Opaque[Sequence[Hit]],
    limit: int,
    nodes: Opaque[Dispatcher | None],
    cluster: Opaque[ClusterSpec | None],
) -> tuple[list[Hit], str]:
    """Reorder passages; return the best ones, and a note if the order of the search stays.

    Args:
        reranker: What scores them.
        hits: The passages in the order of the search.
        limit: How many to return at most.
        nodes: The nodes as they embed; None if no chat model of theirs judges.
        cluster: The same nodes with their chat models.
    """
    try:
        with reranker.content.opened(cluster.content, nodes.content) as score:
            best, note = reranker.content.reordered(question, hits.content, limit, score)
    except ClusterError as error:  # the flow goes on with the order of the search
        best, note = not_reordered(hits.content, limit, error)
    if note:
        get_run_logger().warning("%s", note)
    return best, note


@task(name="show pages", task_run_name=counted_name("show the pages of", "passage", of="hits"), **UNCACHED)
def show_pages(question: str, hits: Opaque[Sequence[Hit]]) -> None:
    """Draw the pages of passages, marked, into an artifact of the run; the first `SHOWN_PAGES` of them.

    Args:
        question: The question, the artifact's title.
        hits: The passages; their files have to be readable here.
    """
    parts = [f"# {escape_markdown(question)}"]
    for place, picture in islice(page_pictures(hits.content, dpi=SHOWN_DPI), SHOWN_PAGES):
        path = escape_markdown(hits.content[place].path)
        parts.append(f"## {place + 1}. {path}, page {picture.page}")
        if picture.png:
            parts.append(picture_markdown(f"page {picture.page}", picture.png))
        else:
            parts.append(escape_markdown(picture.note))
    create_markdown_artifact(
        "\n\n".join(parts), key=PAGES, description=f"Pages for: {escape_markdown(question)}"
    )
