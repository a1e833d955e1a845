"""The status of the nodes of a cluster: what they report, and whether they may work."""

from prefect import task
from prefect.utilities.asyncutils import run_coro_as_sync

from prefect_ollama.blocks.nodes import ClusterCheck, ClusterSpec, check_cluster
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque, counted_name, download_log, run_logger


@task(name="check nodes", task_run_name=counted_name("check", "node", of="cluster"), **UNCACHED)
def check_cluster_nodes(cluster: Opaque[ClusterSpec]) -> ClusterCheck:
    """Verify each node, and ask it for its status. A node that fails is a row with the cause."""
    # Read by people who look at a cluster that fails, so a node that fails must not fail the task.
    found: ClusterCheck = run_coro_as_sync(check_cluster(cluster.content, pull=True, progress=download_log()))
    for row in found.nodes:
        if not row.ok:
            run_logger().warning("Left out: %s", row.error)
    return found
