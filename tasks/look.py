"""What the nodes say of themselves: version, models, memory. A node that says nothing holds nobody up."""

from __future__ import annotations

import asyncio

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.utilities.asyncutils import run_coro_as_sync

from prefect_ollama.blocks.wire.check import NodeCheck, check_node
from prefect_ollama.blocks.wire.loop_lag import timeout_while_running
from prefect_ollama.blocks.wire.spec import ClusterSpec, NodeSpec
from prefect_ollama.tasks.parcel import Parcel

PATIENCE = 5.0
"""Seconds that a node may take for its answers; one that is busy with texts gives them at once all the same."""


@task(
    name="look at nodes", task_run_name="look at {count} nodes", cache_policy=NO_CACHE, persist_result=False
)
def look_at_nodes(cluster: Parcel[ClusterSpec], count: int) -> tuple[NodeCheck, ...]:
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
        async with timeout_while_running(PATIENCE):
            return await check_node(node)
    except TimeoutError:
        return NodeCheck(node.name, node.url, ok=False, error=f"It did not answer within {PATIENCE:g} s.")
