"""Verify the nodes before a run, and compare their vectors with those of the table."""

from dataclasses import replace

from prefect import task

from prefect_ollama.blocks.documents import Identity
from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.nodes import ClusterSpec, VerifiedCluster
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.dispatch import Dispatcher
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque, counted_name, run_logger
from prefect_ollama.tasks.searching import ROWS_COMPARED, compare_rows, other_vectors, verified


@task(name="verify nodes", task_run_name=counted_name("verify", "node", of="cluster"), **UNCACHED)
def verify_nodes(cluster: Opaque[ClusterSpec], table: Identity | None = None) -> VerifiedCluster:
    """Verify every node of a cluster. Nodes that fail are left out, and named in the log.

    Args:
        table: Identity of the table's vectors; nodes that give these are preferred.

    Raises:
        ClusterError: No node passed.
    """
    return verified(cluster.content, table)


def identity_for(store: Store, wanted: Identity, proven: VerifiedCluster) -> Identity:
    """Return the identity with which a run opens a table.

    If the nodes give the table's vectors, digest and name of the model are those of the table: other ones may give the
    same vectors. Otherwise the identity is unchanged, and opening the table with it raises the error.

    Args:
        store: The table.
        wanted: Identity of the run: the nodes' model, prompts and chunker.
        proven: The verified nodes.

    Raises:
        TableError: The table has no fingerprint, and the nodes give other vectors for its rows.
        ClusterError: No node works any more.
    """
    found = store.identity
    known_as = replace(wanted, digest=found.digest, model=found.model)
    # The fingerprint is exact and costs nothing; only tables of the first versions have none.
    if found.fingerprint is not None and found.fingerprint.comparable(proven.reference):
        return known_as if found.fingerprint == wanted.fingerprint else wanted
    # Nodes are not asked if the table cannot be opened in any case.
    if found.differences(known_as):
        return wanted
    with Dispatcher(proven) as dispatcher:
        rows = compare_rows(store, dispatcher, ROWS_COMPARED)
    if rows.wrong:
        raise other_vectors(store, proven, rows)
    run_logger().info(
        "The nodes give the vectors of %s of the table, which has no fingerprint of its model yet: it gets one.",
        quantity(rows.count, "row"),
    )
    return known_as
