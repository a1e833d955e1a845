"""What the nodes say of themselves: version, models, memory. A node that says nothing holds nobody up."""

from __future__ import annotations

import asyncio

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.utilities.asyncutils import run_coro_as_sync

from prefect_ollama.blocks.nodes import ClusterSpec, NodeCheck, NodeSpec, check_node, timeout_while_running
from prefect_ollama.tasks.prefect_state import Opaque

STATUS_TIMEOUT_S = 5.0
"""Seconds that a node may take for its answers; one that is busy with texts gives them at once all the same."""


@task(
    name="read node status",
    task_run_name="read the status of {count} nodes",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def read_node_status(cluster: Opaque[ClusterSpec], count: int) -> tuple[NodeCheck, ...]:
    """Ask every node what it has. One that can't be asked is a row with its cause.

    Args:
        cluster: The nodes.
        count: How many they are, for the run's name.
    """

    async def look() -> tuple[NodeCheck, ...]:
        return tuple(await asyncio.gather(*(_look(node) for node in cluster.content.nodes)))

    looked: tuple[NodeCheck, ...] = run_coro_as_sync(look())
    return looked


async def _look(node: NodeSpec) -> NodeCheck:
    try:
        async with timeout_while_running(STATUS_TIMEOUT_S):
            return await check_node(node)
    except TimeoutError:
        return NodeCheck(
            node.name, node.url, ok=False, error=f"It did not answer within {STATUS_TIMEOUT_S:g} s."
        )
