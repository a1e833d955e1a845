"""The nodes that embed questions. They are verified, and give the vectors of the table."""

from dataclasses import replace

from prefect_ollama.blocks.documents import Identity
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.nodes import (
    ClusterSpec,
    Fingerprint,
    Vectors,
    VerifiedCluster,
    compare,
    scripts_in,
    unlike_scripts,
    verify_cluster,
)
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.blocks.sync_async import blocking
from prefect_ollama.tasks.dispatch import Dispatcher
from prefect_ollama.tasks.prefect_state import download_log, run_logger
from prefect_ollama.tasks.searching.row_comparison import ROWS_COMPARED_BY_SEARCH, compare_rows, other_vectors


def verified(cluster: ClusterSpec, table: Identity | None = None, *, quick: bool = False) -> VerifiedCluster:
    """Verify every node of a cluster. Nodes that fail are left out, and named in the log.

    Args:
        table: Identity of the table's vectors; nodes that give these are preferred.
        quick: Whether a part of the canaries is enough for nodes that name the table's digest and version.

    Raises:
        ClusterError: No node passed.
    """
    logger = run_logger()
    known = None if table is None else table.fingerprint
    proven = blocking(verify_cluster(cluster, reference=known, quick=quick, progress=download_log()))
    for error in proven.left_out.values():
        # For now: the dispatcher verifies it again later, and lets it join.
        logger.warning("Left out for now: %s", error)
    logger.info(
        "%d of %s %r (digest %s, %d dimensions)",
        len(proven.verifications),
        quantity(len(cluster.nodes), "node serves", "nodes serve"),
        cluster.model.name,
        proven.reference.digest[:12] or "unknown",
        proven.reference.dimension,
    )
    return proven


def asking_as(cluster: ClusterSpec, table: Identity) -> ClusterSpec:
    """Return a cluster with the prompts, dimension and context of a table, to embed questions to it."""
    # A cluster that is configured for another table may embed questions in another way.
    model = replace(
        cluster.model,
        document_prefix=table.document_prefix,
        query_prefix=table.query_prefix,
        dimensions=cluster.model.dimensions or table.dimension,
        num_ctx=cluster.model.num_ctx or table.chosen_context,
    )
    return replace(cluster, model=model)


def refuse_other_vectors(table: Store, nodes: Dispatcher) -> None:
    """Refuse nodes that do not give the vectors of a table.

    Raises:
        TableError: The nodes give other vectors.
        ClusterError: No node works any more.
    """
    reference, known = nodes.cluster.reference, table.identity.fingerprint
    # Tables of the first versions have no fingerprint, so some of their rows are embedded again.
    if known is None or not known.comparable(reference):
        rows = compare_rows(table, nodes, ROWS_COMPARED_BY_SEARCH)
        if rows.wrong:
            raise other_vectors(table, nodes.cluster, rows, state="Nothing was searched.")
        return
    if known == reference:
        return
    result = compare(reference, known)
    raise TableError(
        f"The table was made with {_model(known)}, the nodes have {_model(reference)}, and their vectors differ "
        f"({result.likeness}): {result.cause}.",
        state="Nothing was searched.",
        remedy="Bring the nodes to the table's model and version of the server, embed the table again with `re_embed` "
        "(`prefect-ollama re-embed`), or search by words (mode 'text').",
    )


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


def question_note(question: str, nodes: VerifiedCluster) -> str:
    """Return a note about the nodes' vectors for the scripts of a question; empty if they agree."""
    other = {
        name: value for each in nodes.verifications.values() for name, value in each.other_scripts.items()
    }
    found = {name: other[name] for name in scripts_in(question, sorted(other))}
    if not found:
        return ""
    return (
        f"The nodes' vectors of {unlike_scripts(found)} differ from those of the table or from each other, because "
        "tokenizers differ: passages may be missing. Search by words (mode 'text'), or embed the table again "
        "with `re_embed`."
    )


def _model(fingerprint: Fingerprint) -> str:
    # The name stands before the parenthesis, so it is left out of `says`, which begins with it.
    says = [f"{fingerprint.dimension} dimensions", *fingerprint.says[bool(fingerprint.model) :]]
    return f"{fingerprint.model!r} ({', '.join(says)})"
