"""Check nodes and clusters, before anything is begun.

A node that cannot work is a result here, with its cause and the way out, and never an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from prefect_ollama.blocks.errors import ClusterError, ConfigurationError, NodeError, NodeRefused
from prefect_ollama.blocks.nodes.apis import open_endpoint
from prefect_ollama.blocks.nodes.chat_check import ChatCheck, check_chat
from prefect_ollama.blocks.nodes.endpoint import Endpoint
from prefect_ollama.blocks.nodes.loop_lag import timeout_while_running
from prefect_ollama.blocks.nodes.running_models import LoadedModel
from prefect_ollama.blocks.nodes.spec import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.status import NodeStatus
from prefect_ollama.blocks.nodes.verification import NodeVerification, verify_cluster

# Seconds that a node of several may take for its answers; one that is busy with texts gives them at once all the
# same.
STATUS_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class ClusterCheck:
    """What the nodes of a cluster showed of themselves.

    Attributes:
        ok: Whether all nodes may work.
        usable: Whether at least one may.
        model: Name of the model.
        digest: Its digest, as the working nodes have it.
        dimension: Floats in a vector, 0 where no node gave one.
        nodes: A row a node, in the order of the block.
        error: Why no node may work, where none may.
        chat: Which nodes can chat with the chat model. A node that cannot only embeds, so `ok` does not count it.
        judge: The same for the judge model; None where the cluster names none.
    """

    ok: bool
    usable: bool
    model: str
    nodes: tuple[NodeStatus, ...]
    digest: str = ""
    dimension: int = 0
    error: str = ""
    chat: ChatCheck | None = None
    judge: ChatCheck | None = None


async def check_node(spec: NodeSpec) -> NodeStatus:
    """Ask a node who it is."""
    status = NodeStatus.of(spec)
    try:
        async with open_endpoint(spec, ModelSpec(name="")) as endpoint:
            return status.with_inventory(await endpoint.inventory(), await _running(endpoint))
    except (NodeError, ConfigurationError) as error:
        return replace(status, error=str(error))


async def _running(endpoint: Endpoint) -> tuple[LoadedModel, ...] | None:
    """Return what is in its memory; a proxy before it may not let that through."""
    try:
        return await endpoint.running()
    except NodeError:
        return None


async def check_nodes(nodes: Sequence[NodeSpec]) -> tuple[NodeStatus, ...]:
    """Ask several nodes at the same time who they are; one that says nothing holds nobody up."""

    async def check(node: NodeSpec) -> NodeStatus:
        try:
            async with timeout_while_running(STATUS_TIMEOUT_S):
                return await check_node(node)
        except TimeoutError:
            return NodeStatus.of(node, error=f"It did not answer within {STATUS_TIMEOUT_S:g} s.")

    return tuple(await asyncio.gather(*map(check, nodes)))


def join_verification(
    statuses: Sequence[NodeStatus],
    spec: ClusterSpec,
    verifications: Mapping[str, NodeVerification],
    causes: Mapping[str, NodeError],
    reason: ClusterError | None = None,
) -> tuple[NodeStatus, ...]:
    """Return the statuses of a cluster's nodes with what their verification showed.

    Args:
        statuses: What the nodes say of themselves.
        spec: The cluster.
        verifications: By node name, of the nodes that may work.
        causes: By node name, why a node may not.
        reason: Why no node may, where none may; it stands for a node without a cause of its own.
    """
    return tuple(
        status.verified(spec.model.name, verifications[status.name])
        if status.name in verifications
        else status.left_out(spec.model.name, _words(causes.get(status.name, reason), spec))
        for status in statuses
    )


async def check_cluster(spec: ClusterSpec) -> ClusterCheck:
    """Verify every node, as before a run, but download nothing.

    Raises:
        ConfigurationError: A node's CA bundle cannot be read.
    """
    found, chat = await asyncio.gather(_check_embedding(spec), check_chat(spec, spec.chat))
    judge = None
    if spec.judge is not None:
        judge = chat if spec.judge == spec.chat else await check_chat(spec, spec.judge)
    return replace(found, chat=chat, judge=judge)


async def _check_embedding(spec: ClusterSpec) -> ClusterCheck:
    try:
        verified = await verify_cluster(replace(spec, pull=False))
    except ClusterError as error:
        statuses = join_verification(await check_nodes(spec.nodes), spec, {}, error.causes, error)
        return ClusterCheck(False, False, spec.model.name, statuses, error=str(error))
    return ClusterCheck(
        ok=not verified.left_out,
        usable=True,
        model=spec.model.name,
        nodes=join_verification(
            await check_nodes(spec.nodes), spec, verified.verifications, verified.left_out
        ),
        digest=verified.reference.digest,
        dimension=verified.reference.dimension,
    )


def _words(error: Exception | None, cluster: ClusterSpec) -> str:
    pulls = {node.name for node in cluster.nodes if node.api == "ollama"} if cluster.pull else ()
    if isinstance(error, NodeRefused) and error.status == 404 and error.node in pulls:
        return f"{error.cause} A run lets it download the model first."
    return str(error)
