"""The status that nodes report: version, models, memory. A node that does not answer delays no other."""

from __future__ import annotations

from prefect import task
from prefect.utilities.asyncutils import run_coro_as_sync

from prefect_ollama.blocks.nodes import ChatCheck, ClusterSpec, NodeStatus, check_chat_models, check_nodes
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque, counted_name


@task(
    name="read node status",
    task_run_name=counted_name("read the status of", "node", of="cluster"),
    **UNCACHED,
)
def read_node_status(cluster: Opaque[ClusterSpec]) -> tuple[NodeStatus, ...]:
    """Ask each node for its status. A node that does not answer is a row with the cause."""
    # Read by people who look at a cluster that fails, so a node that fails must not fail the task.
    statuses: tuple[NodeStatus, ...] = run_coro_as_sync(check_nodes(cluster.content.nodes))
    return statuses


@task(
    name="check chat models",
    task_run_name=counted_name("check the chat models of", "node", of="cluster"),
    **UNCACHED,
)
def check_models_for_chat(cluster: Opaque[ClusterSpec]) -> tuple[ChatCheck, ChatCheck | None]:
    """Ask every node whether it can chat with the cluster's chat model and judge model. Nothing is downloaded."""
    found: tuple[ChatCheck, ChatCheck | None] = run_coro_as_sync(check_chat_models(cluster.content))
    return found
