"""Answer a question: embed it, ask the table."""

from __future__ import annotations

from typing import Literal

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import Hit, Store
from prefect_ollama.blocks.wire.fingerprint import Fingerprint, compare
from prefect_ollama.blocks.wire.proof import likeness
from prefect_ollama.tasks.dispatch import Dispatcher
from prefect_ollama.tasks.log import run_logger
from prefect_ollama.tasks.parcel import Parcel
from prefect_ollama.tasks.prove import ROWS_COMPARED_BY_SEARCH, compare_rows, other_vectors

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
    _compare(store.content, dispatcher.content)
    nodes = dispatcher.content
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


def _compare(table: Store, nodes: Dispatcher) -> None:
    """Refuse nodes whose vectors do not compare with the table's.

    Raises:
        TableError: They do not.
        ClusterError: No node works any more.
    """
    reference, known = nodes.cluster.reference, table.identity.fingerprint
    if known is None or not known.comparable(reference):
        rows = compare_rows(table, nodes, ROWS_COMPARED_BY_SEARCH)
        if rows.wrong:
            raise other_vectors(table, nodes.cluster, rows, state="Nothing was searched.")
        return
    if known == reference:
        return
    result = compare(reference, known)
    raise TableError(
        f"The table was made with {_model(known)}, the nodes have {_model(reference)}, and its vectors are others "
        f"({likeness(result)}): {result.cause}.",
        state="Nothing was searched.",
        remedy="Bring the nodes to the table's model and version of Ollama, embed the table again with `re_embed` "
        "(`prefect-ollama re-embed`), or search by words (mode 'text').",
    )


def _model(fingerprint: Fingerprint) -> str:
    says = [f"{fingerprint.dimension} dimensions", *fingerprint.says[bool(fingerprint.model) :]]
    return f"{fingerprint.model!r} ({', '.join(says)})"


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
