"""Answer a question: embed it, ask the table."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_ollama.blocks.documents import Hit
from prefect_ollama.blocks.lance import Mode, Store
from prefect_ollama.tasks.dispatch import Dispatcher
from prefect_ollama.tasks.prefect_state import Opaque
from prefect_ollama.tasks.searching import refuse_other_vectors


@task(name="embed question", task_run_name="embed the question", cache_policy=NO_CACHE, persist_result=False)
def embed_question(
    question: str, dispatcher: Opaque[Dispatcher], store: Opaque[Store]
) -> Opaque[list[float]]:
    """Embed a question on whatever node is quickest, and see that the nodes give the table's vectors.

    Raises:
        TableError: The nodes' model is not the one that the table was made with.
        TextError: The question cannot be embedded.
    """
    refuse_other_vectors(store.content, dispatcher.content)
    nodes = dispatcher.content
    embedded = nodes.embed([question], kind="query")
    for error in embedded.failures.values():
        raise error
    return Opaque(embedded.vectors[0].tolist())


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How a table is asked.

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


@task(
    name="search table",
    task_run_name="search {options.limit} passages, {options.mode}",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def search_table(
    store: Opaque[Store], vector: Opaque[list[float]] | None, question: str, options: SearchOptions
) -> list[Hit]:
    """Ask the table for the best passages."""
    import numpy as np

    query = None if vector is None else np.asarray(vector.content, dtype=np.float32)
    return store.content.search(query, text=question, **asdict(options))
