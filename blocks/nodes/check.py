"""What nodes and clusters show of themselves when they are asked, and before anything is begun.

A node that cannot work is a result here, with its cause and the way out, and never an exception.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from prefect_ollama.blocks.errors import (
    ClusterError,
    ConfigurationError,
    NodeError,
    NodeRefused,
    PrefectOllamaError,
)
from prefect_ollama.blocks.nodes.apis import open_endpoint
from prefect_ollama.blocks.nodes.canaries import QUICK
from prefect_ollama.blocks.nodes.endpoint import Endpoint
from prefect_ollama.blocks.nodes.running_models import LoadedModel
from prefect_ollama.blocks.nodes.spec import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.verification import canary_vectors, verify_cluster


@dataclass(frozen=True, slots=True)
class NodeCheck:
    """What a node showed of itself.

    Attributes:
        name: Its name.
        url: Its base URL.
        ok: Whether it answers as Ollama does.
        version: Version it gives.
        models: Names of the models it has.
        loaded: Models that it has in memory; None where it does not say.
        latency: Seconds of a small request over a standing connection.
        error: Cause and remedy where it is not ok, else empty.
    """

    name: str
    url: str
    ok: bool
    version: str = ""
    models: tuple[str, ...] = ()
    loaded: tuple[LoadedModel, ...] | None = None
    latency: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node of a cluster, as `OllamaCluster.check` found it.

    Attributes:
        name: Its name.
        url: Its base URL.
        ok: Whether it may work in this cluster.
        version: Version it gives.
        digest: SHA-256 of its model's manifest.
        seconds: Time of a small request, model loaded.
        cause: Why it may not work and what to do, where it may not.
    """

    name: str
    url: str
    ok: bool
    version: str = ""
    digest: str = ""
    seconds: float | None = None
    cause: str = ""


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
    """

    ok: bool
    usable: bool
    model: str
    nodes: tuple[NodeState, ...]
    digest: str = ""
    dimension: int = 0
    error: str = ""


async def check_node(spec: NodeSpec) -> NodeCheck:
    """Ask a node who it is."""
    try:
        async with open_endpoint(spec, ModelSpec(name="")) as endpoint:
            found = await endpoint.inventory()
            running = await _running(endpoint)
    except (NodeError, ConfigurationError) as error:
        return NodeCheck(spec.name, spec.url, ok=False, error=str(error))
    return NodeCheck(spec.name, spec.url, True, found.version, found.models, running, found.latency)


async def _running(endpoint: Endpoint) -> tuple[LoadedModel, ...] | None:
    """Return what is in its memory; a proxy before it may not let that through."""
    try:
        return await endpoint.running()
    except NodeError:
        return None


async def check_cluster(spec: ClusterSpec) -> ClusterCheck:
    """Let every node prove itself, as before a run, but download nothing.

    Raises:
        ConfigurationError: A node's CA bundle cannot be read.
    """
    try:
        verified = await verify_cluster(replace(spec, pull=False))
    except ClusterError as error:
        causes = await asyncio.gather(*(_failure(node, spec) for node in spec.nodes))
        rows = tuple(
            NodeState(node.name, node.url, ok=False, cause=_words(cause or error, spec))
            for node, cause in zip(spec.nodes, causes, strict=True)
        )
        return ClusterCheck(False, False, spec.model.name, rows, error=str(error))
    rows = tuple(
        NodeState(node.name, node.url, True, verification.version, verification.digest, verification.seconds)
        if (verification := verified.verifications.get(node.name)) is not None
        else NodeState(node.name, node.url, ok=False, cause=_words(verified.left_out[node.name], spec))
        for node in spec.nodes
    )
    return ClusterCheck(
        ok=not verified.left_out,
        usable=True,
        model=spec.model.name,
        nodes=rows,
        digest=verified.reference.digest,
        dimension=verified.reference.dimension,
    )


async def _failure(node: NodeSpec, cluster: ClusterSpec) -> PrefectOllamaError | None:
    """Why a node cannot work, asked of it alone."""
    try:
        async with open_endpoint(node, cluster.model) as endpoint:
            await endpoint.identify()
            await canary_vectors(endpoint, QUICK, timeout=node.load_timeout)
    except (NodeError, ConfigurationError) as error:
        return error
    return None


def _words(error: PrefectOllamaError, cluster: ClusterSpec) -> str:
    pulls = {node.name for node in cluster.nodes if node.api == "ollama"} if cluster.pull else ()
    if (
        isinstance(error, NodeError)
        and error.node in pulls
        and isinstance(error, NodeRefused)
        and error.status == 404
    ):
        return f"{error.cause} A run lets it download the model first."
    return str(error)
