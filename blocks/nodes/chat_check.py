"""Check the chat models of a cluster before work starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from prefect_ollama.blocks.errors import ClusterError
from prefect_ollama.blocks.nodes.chat_verification import verify_chat
from prefect_ollama.blocks.nodes.spec import ChatModelSpec, ClusterSpec

# The cause in a check of a cluster without a chat model, which is no fault.
NO_CHAT_MODEL = (
    "The cluster names no chat model: its nodes only embed, and answers are sentences of the documents."
)


@dataclass(frozen=True, slots=True)
class ChatCheck:
    """The result of checking a chat model on the nodes of a cluster.

    Attributes:
        model: Name of the model; empty if the cluster names none.
        usable: Whether at least one node can chat with it.
        nodes: Names of these nodes.
        left_out: Why a node only embeds, by its name.
        digest: Digest of the model on most nodes.
        context: Tokens of passages and answer together; None if unknown.
        error: Why no node can chat; empty if one can.
    """

    model: str
    usable: bool
    nodes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    context: int | None = None
    error: str = ""

    def error_of(self, node: str) -> str:
        """Return why a node cannot chat with the model, and what to do; empty where it can, or no model is named."""
        return "" if not self.model or node in self.nodes else self.left_out.get(node, self.error)


async def check_chat_models(spec: ClusterSpec) -> tuple[ChatCheck, ChatCheck | None]:
    """Ask every node whether it can chat with the chat model and the judge model of a cluster, but download nothing.

    Returns:
        The check of the chat model, and that of the judge model; None where the cluster names none.

    Raises:
        ConfigurationError: A node's CA bundle cannot be read.
    """
    chat = await check_chat(spec, spec.chat)
    if spec.judge is None:
        return chat, None
    return chat, chat if spec.judge == spec.chat else await check_chat(spec, spec.judge)


async def check_chat(spec: ClusterSpec, model: ChatModelSpec | None) -> ChatCheck:
    """Ask every node whether it can chat with a model, but download nothing.

    Raises:
        ConfigurationError: A node's CA bundle cannot be read.
    """
    if model is None:
        return ChatCheck("", usable=False, error=NO_CHAT_MODEL)
    try:
        verified = await verify_chat(replace(spec, chat=model, other_chats=(), pull=False))
    except ClusterError as error:
        causes = {name: str(cause) for name, cause in error.causes.items()}
        return ChatCheck(model.name, usable=False, left_out=causes, error=str(error))
    return ChatCheck(
        model.name,
        usable=True,
        nodes=tuple(node.name for node in spec.nodes if node.name in verified.models),
        left_out={name: str(cause) for name, cause in verified.left_out.items()},
        digest=verified.digest,
        context=verified.model.num_ctx,
    )
