"""Chat requests and answers, as plain values that belong to no API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, Self

from prefect_ollama.blocks.nodes.endpoint import DESCRIPTION_TIMEOUT_S, NodeModel, Progress
from prefect_ollama.blocks.nodes.spec import ChatModelSpec, NodeSpec

# Tokens of an answer at most, where the caller names no number: a model that repeats itself never ends.
DEFAULT_ANSWER_TOKENS: Final = 1024

# Called with each piece of the text of an answer as it comes; with an empty one for each of its thinking.
Heard = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, eq=False)
class ChatRequest:
    """What one request asks.

    Attributes:
        messages: The conversation; at least one message.
        format: JSON schema that the answer has to fit; None is free text.
        max_tokens: Tokens of the answer at most, with those of its thinking.
        options: Options of sampling, such as temperature and seed, on top of those of the model. No node loads the
            model anew for them.
    """

    messages: tuple[ChatMessage, ...]
    format: Mapping[str, Any] | None = None
    max_tokens: int = DEFAULT_ANSWER_TOKENS
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all messages in UTF-8."""
        return sum(len(each.content.encode("utf-8", "surrogatepass")) for each in self.messages)


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A whole answer.

    Attributes:
        text: What the model said.
        thinking: What it thought before, empty where it did not.
        cut: Whether it ended because it was too long, not because it was done.
        prompt_tokens: Tokens of the messages, 0 where the node did not say.
        answer_tokens: Tokens that the model made, 0 where the node did not say.
    """

    text: str
    thinking: str = ""
    cut: bool = False
    prompt_tokens: int = 0
    answer_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ChatLimits:
    """How long an answer may keep one waiting.

    Attributes:
        first: Seconds until the first piece of it.
        between: Seconds from one piece to the next.
    """

    first: float
    between: float


class ChatEndpoint(Protocol):
    """One node and one chat model, as the product works with them.

    Attributes:
        node: The node.
        chat_model: The model that all calls are about. It may be replaced between calls.
    """

    node: NodeSpec
    chat_model: ChatModelSpec

    async def chat(
        self, request: ChatRequest, *, limits: ChatLimits, heard: Heard | None = None
    ) -> ChatReply:
        """Return the answer to a request.

        Args:
            request: What is asked.
            limits: How long it may take.
            heard: Told of the answer as it comes.

        Raises:
            NodeError: No answer, an answer that broke off, or one that cannot be read.
        """
        ...

    async def identify(self, *, pull: bool = False, progress: Progress | None = None) -> NodeModel:
        """Return the node's description of itself and its model.

        Raises:
            NodeError: It cannot be reached, lacks the model, or the model cannot do what is wanted of it.
        """
        ...

    async def build(self, *, timeout: float = DESCRIPTION_TIMEOUT_S) -> NodeModel:
        """Return digest and version alone.

        Raises:
            NodeError: It cannot be reached, or lacks the model.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...
