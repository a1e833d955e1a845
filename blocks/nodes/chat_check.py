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


async def check_chat_models(spec: ClusterSpec) -> tuple[ChatCheck, ChatCheck | None]:
    """Ask every node whether it can chat with the chat model and the judge model of a cluster, but download nothing.

    Returns:
        The check of the chat model, and that of the judge model; None if the cluster names none.

    Raises:
        ConfigurationError: A node's CA bundle cannot be read.
    """
    chat = ChatCheck("", usable=False, error=NO_CHAT_MODEL)
    if spec.chat is not None:
        chat = await check_chat(spec, spec.chat, spec.other_chats)
    if spec.judge is None:
        return chat, None
    # Only nodes that have the judge model itself judge.
    return chat, chat if spec.judge == spec.chat and not spec.other_chats else await check_chat(
        spec, spec.judge, ()
    )


async def check_chat(spec: ClusterSpec, model: ChatModelSpec, others: tuple[ChatModelSpec, ...]) -> ChatCheck:
    """Ask every node whether it can chat with a model, or with one of the others, but download nothing.

    Raises:
        ConfigurationError: A node's CA bundle cannot be read.
    """
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
