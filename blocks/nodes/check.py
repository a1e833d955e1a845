"""Check nodes and clusters before work starts.

A node that cannot work is a result with cause and remedy, and not an exception.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from prefect_ollama.blocks.errors import ClusterError, ConfigurationError, NodeError, NodeRefused
from prefect_ollama.blocks.nodes.apis import open_endpoint
from prefect_ollama.blocks.nodes.chat_verification import verify_chat
from prefect_ollama.blocks.nodes.endpoint import Endpoint, LoadedModel, Progress
from prefect_ollama.blocks.nodes.loop_lag import timeout_while_running
from prefect_ollama.blocks.nodes.spec import ChatModelSpec, ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.status import NodeStatus
from prefect_ollama.blocks.nodes.verification import VerifiedCluster, verify_cluster

# Seconds in which a node must describe itself, so that a silent node does not delay the check of other nodes. Nodes
# answer such calls at once, also while they embed.
STATUS_TIMEOUT_S: Final = 5.0

# The cause in a check of a cluster without a chat model, which is not an error.
NO_CHAT_MODEL = (
    "The cluster names no chat model: its nodes only embed, and answers are sentences of the documents."
)


@dataclass(frozen=True, slots=True)
class ChatCheck:
    """The result of checking a chat model on the nodes of a cluster.

    Attributes:
        model: Name of the model; empty if the cluster names none.
        usable: Whether at least one node can chat, with it or with another model.
        nodes: Names of these nodes.
        others: Names of the models of those among them that answer with another model, by name of the node.
        left_out: Why a node only embeds, by its name.
        digest: Digest of the model on most nodes.
        context: Tokens of passages and answer together; None if unknown.
        error: Why no node can chat; empty if one can.
    """

    model: str
    usable: bool
    nodes: tuple[str, ...] = ()
    others: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    context: int | None = None
    error: str = ""

    def model_of(self, node: str) -> str:
        """Return the name of the model with which a node answers, or should; empty if the cluster names none."""
        return self.others.get(node, self.model)

    def error_of(self, node: str) -> str:
        """Return why a node cannot chat, and what to do; empty if it can, or no model is named."""
        return "" if not self.model or node in self.nodes else self.left_out.get(node, self.error)


@dataclass(frozen=True, slots=True)
class ClusterCheck:
    """The result of checking a cluster.

    Attributes:
        ok: Whether all nodes may work.
        usable: Whether at least one may.
        model: Name of the model.
        nodes: The status of each node, in the order of the block.
        digest: Digest of the model on the working nodes.
        dimension: Floats in a vector; 0 if no node gave one.
        error: Why no node may work; empty if one may.
        chat: Which nodes can chat with the chat model. A node that cannot still embeds, so `ok` ignores it.
        judge: The same for the judge model; None if the cluster names none.
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
    """Ask a node for its version and models."""
    status = NodeStatus.of(spec)
    try:
        async with open_endpoint(spec, ModelSpec(name="")) as endpoint:
            found, loaded = await endpoint.inventory(), await _running(endpoint)
            return replace(
                status,
                ok=True,
                version=found.version,
                models=found.models,
                latency=found.latency,
                loaded=loaded,
            )
    except (NodeError, ConfigurationError) as error:
        return replace(status, error=str(error))


async def _running(endpoint: Endpoint) -> tuple[LoadedModel, ...] | None:
    """Return the models in the node's memory; None if it does not answer, because a proxy may refuse this call."""
    try:
        return await endpoint.running()
    except NodeError:
        return None


async def check_nodes(nodes: Sequence[NodeSpec]) -> tuple[NodeStatus, ...]:
    """Ask several nodes at the same time for their version and models. A silent node delays no other."""

    async def check(node: NodeSpec) -> NodeStatus:
        try:
            async with timeout_while_running(STATUS_TIMEOUT_S):
                return await check_node(node)
        except TimeoutError:
            return NodeStatus.of(node, error=f"It did not answer within {STATUS_TIMEOUT_S:g} s.")

    return tuple(await asyncio.gather(*map(check, nodes)))


async def check_cluster(
    spec: ClusterSpec, *, pull: bool = False, progress: Progress | None = None
) -> ClusterCheck:
    """Verify every node as before a run.

    Args:
        pull: Whether nodes may download the embedding model, if the cluster allows it.
        progress: Called during downloads.

    Raises:
        ConfigurationError: A node's CA bundle cannot be read.
    """
    asked = spec if pull else replace(spec, pull=False)
    found, (chat, judge) = await asyncio.gather(_verified(asked, progress), _check_chat_models(spec))
    verified = None if isinstance(found, ClusterError) else found
    causes = found.causes if isinstance(found, ClusterError) else found.left_out
    rows = []
    # After the verification, which has loaded the model, so that the status shows how it is loaded.
    for status in await check_nodes(spec.nodes):
        row = replace(
            status,
            chat_model=chat.model_of(status.name),
            chat_error=chat.error_of(status.name),
            judge_model=judge.model if judge else "",
            judge_error=judge.error_of(status.name) if judge else "",
        )
        if verified is not None and status.name in verified.verifications:
            rows.append(row.verified(spec.model.name, verified.verifications[status.name]))
        else:
            # If no node may work, one without a cause of its own has that of all.
            cause = causes.get(status.name, found if isinstance(found, ClusterError) else None)
            error = _words(cause, spec, pull=pull)
            rows.append(replace(row, ok=False, model=spec.model.name, error=error))
    return ClusterCheck(
        ok=verified is not None and not verified.left_out,
        usable=verified is not None,
        model=spec.model.name,
        nodes=tuple(rows),
        digest=verified.reference.digest if verified else "",
        dimension=verified.reference.dimension if verified else 0,
        error="" if verified else str(found),
        chat=chat,
        judge=judge,
    )


async def _verified(spec: ClusterSpec, progress: Progress | None) -> VerifiedCluster | ClusterError:
    try:
        return await verify_cluster(spec, progress=progress)
    except ClusterError as error:  # no node passed; the check still names the cause of each
        return error


def _words(error: Exception | None, cluster: ClusterSpec, *, pull: bool) -> str:
    # A check downloads nothing, but a run may.
    pulls = {node.name for node in cluster.nodes if node.api == "ollama"} if cluster.pull and not pull else ()
    if isinstance(error, NodeRefused) and error.status == 404 and error.node in pulls:
        return f"{error.cause} A run lets it download the model first."
    return str(error)


async def _check_chat_models(spec: ClusterSpec) -> tuple[ChatCheck, ChatCheck | None]:
    """Ask every node whether it can chat with the chat model and the judge model of a cluster, but download nothing.

    Returns:
        The check of the chat model, and that of the judge model; None if the cluster names none.

    Raises:
        ConfigurationError: A node's CA bundle cannot be read.
    """
    chat = ChatCheck("", usable=False, error=NO_CHAT_MODEL)
    if spec.chat is not None:
        chat = await _check_chat(spec, spec.chat, spec.other_chats)
    if spec.judge is None:
        return chat, None
    # Only nodes that have the judge model itself judge.
    return chat, chat if spec.judge == spec.chat and not spec.other_chats else await _check_chat(
        spec, spec.judge, ()
    )


async def _check_chat(
    spec: ClusterSpec, model: ChatModelSpec, others: tuple[ChatModelSpec, ...]
) -> ChatCheck:
    """Ask every node whether it can chat with a model, or with one of the others, but download nothing."""
    try:
        verified = await verify_chat(replace(spec, chat=model, other_chats=others, pull=False))
    except ClusterError as error:
        causes = {name: str(cause) for name, cause in error.causes.items()}
        return ChatCheck(model.name, usable=False, left_out=causes, error=str(error))
    return ChatCheck(
        model.name,
        usable=True,
        nodes=tuple(verified.models),
        others={name: other.name for name, other in verified.others.items()},
        left_out={name: str(cause) for name, cause in verified.left_out.items()},
        digest=verified.digest,
        context=verified.model.num_ctx,
    )
