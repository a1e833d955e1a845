"""Chat requests and answers, as plain values that belong to no API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from prefect_ollama.blocks.nodes.endpoint import ModelEndpoint
from prefect_ollama.blocks.nodes.spec import ChatModelSpec

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
    """One request.

    Attributes:
        messages: The conversation; at least one message.
        format: JSON schema that the answer has to fit; None is free text.
        max_tokens: Tokens of the answer at most, with those of its thinking.
        options: Options of sampling, such as temperature and seed, beside those of the model. No node loads the
            model again for them.
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
        thinking: What it thought before; empty if it did not.
        cut: Whether it ended at its limit of tokens.
        prompt_tokens: Tokens of the messages; 0 if the node does not report them.
        answer_tokens: Tokens that the model wrote; 0 if the node does not report them.
    """

    text: str
    thinking: str = ""
    cut: bool = False
    prompt_tokens: int = 0
    answer_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ChatLimits:
    """How long an answer may take.

    Attributes:
        first: Seconds until the first piece of it.
        between: Seconds from one piece to the next.
    """

    first: float
    between: float


class ChatEndpoint(ModelEndpoint, Protocol):
    """One node and one chat model.

    Attributes:
        chat_model: The model of all calls. It may be replaced between calls.
    """

    chat_model: ChatModelSpec

    async def chat(
        self, request: ChatRequest, *, limits: ChatLimits, heard: Heard | None = None
    ) -> ChatReply:
        """Return the answer to a request.

        Args:
            request: The request.
            limits: How long it may take.
            heard: Called with each piece of the answer.

        Raises:
            NodeError: There is no answer, it broke off, or it cannot be read.
        """
        ...
