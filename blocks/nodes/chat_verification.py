"""Verify nodes before they get chat requests: a node must have the model, and the model must chat, and think if needed.

Digests must agree, as for embedding, because another build gives other answers. Answers of models cannot be compared,
so each answer is checked separately.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from prefect_ollama.blocks.errors import ClusterError, ConfigurationError, NodeError, NodeRefused
from prefect_ollama.blocks.nodes._gather import GRACE_S, gather_by_node
from prefect_ollama.blocks.nodes._model_info import settle_context
from prefect_ollama.blocks.nodes.apis import open_chat_endpoint
from prefect_ollama.blocks.nodes.chat import ChatEndpoint
from prefect_ollama.blocks.nodes.comparison import other_digest
from prefect_ollama.blocks.nodes.endpoint import NodeModel, Progress
from prefect_ollama.blocks.nodes.spec import ChatModelSpec, ClusterSpec

# Context if the user sets none: some twenty passages and an answer. A larger one costs memory on every node, about
# 0.1 GB for 1,000 tokens of a model with 8 billion parameters.
CHAT_CONTEXT_CAP: Final = 8192


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedChat:
    """A cluster with the verification of its nodes' chat model at the start of a run.

    Attributes:
        spec: The cluster, with the context of the chat model settled, and whether it thinks.
        models: The descriptions of the nodes that may chat at once, by name.
        left_out: Why a node does not chat (yet), by its name.
        others: The models of nodes that answer with another one than the chat model, by name of the node.
    """

    spec: ClusterSpec
    models: Mapping[str, NodeModel]
    left_out: Mapping[str, NodeError] = field(default_factory=dict)
    others: Mapping[str, ChatModelSpec] = field(default_factory=dict)

    @property
    def model(self) -> ChatModelSpec:
        """The chat model."""
        return chat_model_of(self.spec)

    @property
    def several_models(self) -> bool:
        """Whether a node answers with another model than the chat model, or may do so when it returns."""
        return bool(self.others or (self.spec.other_chats and self.left_out))

    @property
    def digest(self) -> str:
        """Its digest on most nodes; empty if they report none."""
        return self.digest_of(self.model.name)

    def model_of(self, node: str) -> ChatModelSpec:
        """Return the model with which a node answers."""
        return self.others.get(node, self.model)

    def digest_of(self, model: str) -> str:
        """Return the digest of a model on most of the nodes that answer with it; empty if they report none."""
        return _majority(
            {node: found for node, found in self.models.items() if self.model_of(node).name == model}
        )


def chat_model_of(spec: ClusterSpec) -> ChatModelSpec:
    """Return the chat model of a cluster.

    Raises:
        ConfigurationError: The cluster has no chat model.
    """
    if spec.chat is None:
        raise ConfigurationError(
            "The cluster names no chat model.",
            state="Nothing was started.",
            remedy="Write one into the field 'Chat model' of its block, for example qwen3.",
        )
    return spec.chat


async def verify_chat(spec: ClusterSpec, *, progress: Progress | None = None) -> VerifiedChat:
    """Verify all nodes for chat at the same time.

    A node that refuses the chat model, because it lacks it for example, is asked for the cluster's other models.

    Args:
        spec: The cluster.
        progress: Called during downloads, if `spec.pull` allows them.

    Raises:
        ConfigurationError: The cluster names no chat model.
        ClusterError: No node can chat; the text has the cause of each.
    """
    model, known, left_out = await _verify_model(spec, chat_model_of(spec), progress)
    models, others = [model], dict[str, ChatModelSpec]()
    for other in spec.other_chats:
        asked = [each for each in spec.nodes if isinstance(left_out.get(each.name), NodeRefused)]
        if not asked:
            break
        # To download every model to every node is not what `pull` asks for.
        rest = replace(spec, nodes=tuple(asked), pull=False)
        other, found, refused = await _verify_model(rest, other, None)
        if found:
            models.append(other)
        others |= dict.fromkeys(found, other)
        known |= found
        # The error of the chat model is more useful than the error that the node lacks another model too.
        other_reasons = {name: error for name, error in refused.items() if not _lacks_model(error)}
        left_out = {name: error for name, error in (left_out | other_reasons).items() if name not in found}
    if known:
        # A request may go to any of them, so it has to fit into the shortest context.
        contexts = [each.num_ctx for each in models if each.num_ctx is not None]
        shortest = min(contexts, default=None)
        others = {name: replace(each, num_ctx=shortest) for name, each in others.items()}
        spec = replace(
            spec,
            chat=replace(model, num_ctx=shortest),
            other_chats=tuple(replace(each, num_ctx=shortest) for each in spec.other_chats),
        )
        return VerifiedChat(spec, spec.in_order(known), spec.in_order(left_out), others)
    raise ClusterError.of_nodes(
        f"No node can chat with {model.name!r}", spec.in_order(left_out), state="Nothing was started."
    )


async def _verify_model(
    spec: ClusterSpec, model: ChatModelSpec, progress: Progress | None
) -> tuple[ChatModelSpec, dict[str, NodeModel], dict[str, NodeError]]:
    """Return a model with context and thinking settled, the nodes that can chat with it, and why others cannot."""
    left_out: dict[str, NodeError] = {}
    clients = []
    for node in spec.nodes:
        try:
            clients.append(open_chat_endpoint(node, model))
        except NodeRefused as error:
            left_out[node.name] = error
    try:
        known = await gather_by_node(
            {each.node.name: each.identify(pull=spec.pull, progress=progress) for each in clients},
            left_out,
            grace=None if spec.pull else GRACE_S,
        )
    finally:
        await asyncio.gather(*(each.aclose() for each in clients))
    digest = _majority(known)
    for name, found in known.items():
        if (reason := _other_build(name, found, digest, spec)) is not None:
            left_out[name] = reason
        # Ollama would use the shorter context of the model without an error.
        elif found.context and found.context < (model.num_ctx or 0):
            left_out[name] = _short_context(name, found.context, model)
    if model.num_ctx is None:
        contexts = {name: each.context for name, each in known.items() if name not in left_out}
        settled, short = settle_context(contexts, cap=CHAT_CONTEXT_CAP)
        left_out |= short
        model = replace(model, num_ctx=settled)
    fit = {name: each for name, each in known.items() if name not in left_out}
    # Tokens for thinking would be taken from the passages, and a model that repeats itself would use them all.
    if (
        model.think is None
        and fit
        and all(each.capabilities and "thinking" not in each.capabilities for each in fit.values())
    ):
        model = replace(model, think=False)
    return model, fit, left_out


async def verify_chat_again(client: ChatEndpoint, known: VerifiedChat, *, timeout: float) -> None:
    """Verify a node that failed, or was not there at the start, so that it may chat (again).

    A node that was not verified at the start answers with the first of the cluster's models that it has.

    Args:
        client: The node's client, which gets the model as its `chat_model`.
        known: The cluster.
        timeout: Seconds for each call.

    Raises:
        NodeError: It may not chat.
    """
    if client.node.name in known.models:
        await _refuse_other_digest(client, known, timeout)
        return
    refusals: list[NodeRefused] = []
    for model in (known.model, *known.spec.other_chats):
        client.chat_model = model
        try:
            await _refuse_other_digest(client, known, timeout)
            found = await client.identify()
            if found.context and found.context < (model.num_ctx or 0):
                raise _short_context(client.node.name, found.context, model)
            return
        except NodeRefused as error:
            refusals.append(error)
    raise next((error for error in reversed(refusals) if not _lacks_model(error)), refusals[0])


async def _refuse_other_digest(client: ChatEndpoint, known: VerifiedChat, timeout: float) -> None:
    found = await client.build(timeout=timeout)
    digest = known.digest_of(client.chat_model.name)
    if (reason := _other_build(client.node.name, found, digest, known.spec)) is not None:
        raise reason


def _other_build(node: str, found: NodeModel, digest: str, spec: ClusterSpec) -> NodeRefused | None:
    return None if spec.accept_other_digest else other_digest(node, found.build, digest, "chat model")


def _majority(known: Mapping[str, NodeModel]) -> str:
    """Return the digest of most nodes; if several are equally frequent, that of the first configured node."""
    digests = Counter(each.digest for each in known.values() if each.digest)
    return max(digests, key=lambda digest: digests[digest], default="")


def _lacks_model(error: NodeError) -> bool:
    return isinstance(error, NodeRefused) and error.status == 404


def _short_context(node: str, context: int, model: ChatModelSpec) -> NodeRefused:
    return NodeRefused(
        f"says that {model.name!r} reads {context:,} tokens; the cluster asks for {model.num_ctx:,}.",
        node=node,
        remedy="Set the context of the cluster's chat model to what the model has.",
    )
