"""Let the nodes prove themselves before a run, and hold them against the table that is there."""

from __future__ import annotations

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.utilities.asyncutils import run_coro_as_sync

from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.wire.proof import SAME_VECTOR, ProvenCluster, prove_cluster
from prefect_ollama.blocks.wire.spec import ClusterSpec
from prefect_ollama.tasks.dispatch import Dispatcher
from prefect_ollama.tasks.log import run_logger
from prefect_ollama.tasks.parcel import Parcel

ROWS_COMPARED = 4


@task(name="prove nodes", task_run_name="prove {count} nodes", cache_policy=NO_CACHE, persist_result=False)
def prove_nodes(cluster: Parcel[ClusterSpec], count: int) -> ProvenCluster:
    """Let every node of a cluster prove itself; those that can't are named in the log and left out.

    Args:
        cluster: The nodes.
        count: How many they are, for the run's name.

    Raises:
        ClusterError: No node can do the work.
    """
    logger = run_logger()

    def pulling(node: str, what: str, done: int, total: int) -> None:
        share = f" {100 * done // total} %" if total else ""
        logger.info("Node %r: %s%s", node, what, share)

    proven: ProvenCluster = run_coro_as_sync(prove_cluster(cluster.content, progress=pulling))
    for error in proven.left_out.values():
        logger.warning("Left out for now: %s", error)
    logger.info(
        "%d of %d nodes serve %r (digest %s, %d dimensions)",
        len(proven.proofs),
        count,
        cluster.content.model.name,
        proven.reference.digest[:12] or "unknown",
        proven.reference.dimension,
    )
    return proven


def gives_stored_vectors(store: Store, dispatcher: Dispatcher) -> bool:
    """Whether the nodes give the vectors that the table holds, shown on some of its rows.

    So a table that was begun with one build of a model goes on with another that gives the same vectors.
    """
    rows = store.sample(ROWS_COMPARED)
    if not rows:
        return True
    stored = np.stack([vector for _, vector in rows])
    if stored.shape[1] != dispatcher.cluster.reference.dimension:
        return False
    embedded = dispatcher.embed([text for text, _ in rows])
    return not embedded.failures and bool(
        np.min(np.einsum("ij,ij->i", embedded.vectors, stored)) >= SAME_VECTOR
    )
