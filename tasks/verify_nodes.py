"""Let the nodes prove themselves before a run, and hold them against the table that is there."""

from __future__ import annotations

from dataclasses import replace

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_ollama.blocks.documents import Identity
from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.nodes import ClusterSpec, VerifiedCluster
from prefect_ollama.tasks.dispatch import Dispatcher
from prefect_ollama.tasks.prefect_state import Opaque, run_logger
from prefect_ollama.tasks.searching import ROWS_COMPARED, compare_rows, other_vectors, verified


@task(name="verify nodes", task_run_name="verify {count} nodes", cache_policy=NO_CACHE, persist_result=False)
def verify_nodes(
    cluster: Opaque[ClusterSpec], count: int, table: Identity | None = None, *, quick: bool = False
) -> VerifiedCluster:
    """Let every node of a cluster prove itself; those that can't are named in the log and left out.

    Args:
        cluster: The nodes.
        count: How many they are, for the run's name.
        table: What the vectors of the table are; nodes that give these are preferred.
        quick: Whether a part of the canaries is enough for nodes that name the table's digest and version.

    Raises:
        ClusterError: No node can do the work.
    """
    return verified(cluster.content, count, table, quick=quick)


def identity_for(store: Store, wanted: Identity, proven: VerifiedCluster) -> Identity:
    """Return the identity with which a run goes on with a table, if the nodes give the table's vectors.

    Digest and name of the model are then the table's: other ones may give the same vectors. Where the nodes give other
    vectors the identity is returned as it is, and opening the table with it says so.

    Args:
        store: The table.
        wanted: What the run makes: the nodes' model, prompts and chunker.
        proven: The nodes.

    Raises:
        TableError: The table has no fingerprint, and the nodes give other vectors for its rows.
        ClusterError: No node works any more.
    """
    found = store.identity
    known_as = replace(wanted, digest=found.digest, model=found.model)
    if found.fingerprint is not None and found.fingerprint.comparable(proven.reference):
        return known_as if found.fingerprint == wanted.fingerprint else wanted
    if found.differences(known_as):
        return wanted
    with Dispatcher(proven) as dispatcher:
        rows = compare_rows(store, dispatcher, ROWS_COMPARED)
    if rows.wrong:
        raise other_vectors(store, proven, rows)
    run_logger().info(
        "The nodes give the vectors of %d rows of the table, which has no fingerprint of its model yet: it gets one.",
        rows.count,
    )
    return known_as
