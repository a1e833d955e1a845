"""Answer a question: embed it, ask the table."""

from __future__ import annotations

from typing import Literal

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import Hit, Store
from prefect_ollama.tasks.dispatch import Dispatcher
from prefect_ollama.tasks.log import run_logger
from prefect_ollama.tasks.parcel import Parcel
from prefect_ollama.tasks.prove import gives_stored_vectors

Mode = Literal["vector", "text", "hybrid"]


@task(name="embed question", task_run_name="embed the question", cache_policy=NO_CACHE, persist_result=False)
def embed_question(
    question: str, dispatcher: Parcel[Dispatcher], store: Parcel[Store]
) -> Parcel[list[float]]:
    """Embed a question on whatever node is quickest, and see that the nodes give the table's vectors.

    Raises:
        TableError: The nodes' model is not the one that the table was made with.
        TextError: The question cannot be embedded.
    """
    table, nodes = store.content, dispatcher.content
    same = table.identity.dimension == nodes.cluster.reference.dimension and (
        nodes.cluster.reference.digest == table.identity.digest or gives_stored_vectors(table, nodes)
    )
    if not same:
        raise TableError(
            f"The table was made with {table.identity.model!r} (digest {table.identity.digest[:12]}, "
            f"{table.identity.dimension} dimensions), the nodes have {nodes.cluster.spec.model.name!r} (digest "
            f"{nodes.cluster.reference.digest[:12]}, {nodes.cluster.reference.dimension} dimensions), and its "
            "vectors are others.",
            state="Nothing was searched.",
            remedy="Pull the table's model on the nodes, or search by words (mode 'text').",
        )
    embedded = nodes.embed([question], kind="query")
    for error in embedded.failures.values():
        raise error
    return Parcel(embedded.vectors[0].tolist())


def upgrade_for_words(store: Store) -> None:
    """Give a table of an earlier version the words that it is searched by, where it can be written to."""
    try:
        if store.upgrade():
            run_logger().info("The table is of an earlier version; its words were indexed anew.")
    except TableError as error:
        run_logger().warning("Some words are not found: %s", error)


@task(
    name="search table",
    task_run_name="search {limit} passages, {mode}",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def search_table(
    store: Parcel[Store],
    vector: Parcel[list[float]] | None,
    *,
    text: str,
    limit: int,
    mode: Mode,
    source: str | None,
) -> list[Hit]:
    """Ask the table for the best passages."""
    import numpy as np

    query = None if vector is None else np.asarray(vector.content, dtype=np.float32)
    return store.content.search(query, text=text, limit=limit, mode=mode, source=source)
