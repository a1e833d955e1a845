"""Chat requests and answers, as plain values that belong to no API."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import orjson

from prefect_ollama.blocks.nodes.endpoint import ModelEndpoint
from prefect_ollama.blocks.nodes.spec import ChatModelSpec

# Maximum tokens of an answer, if the caller names no number: a model that repeats itself never ends.
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
        max_tokens: Maximum tokens of the answer, with those of its thinking.
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


def json_object(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of an object that has all of these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        # Without this a model may add properties until its tokens are used up.
        "additionalProperties": False,
    }


def json_request(
    instructions: str,
    content: Mapping[str, Any],
    schema: Mapping[str, Any],
    model: ChatModelSpec,
    max_tokens: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
) -> ChatRequest:
    """Return a request whose data cannot leave their place, because they travel as JSON.

    Args:
        instructions: What the model has to do.
        content: The data.
        schema: JSON schema of the answer.
        model: The chat model; its own options win over temperature and seed.
        max_tokens: Maximum tokens of the answer, with those of its thinking.
        temperature: How varied answers are; 0 gives the most likely one.
        seed: Of the dice of the model.
    """
    own = dict(model.options)
    options = {"temperature": temperature, "seed": seed}
    return ChatRequest(
        (ChatMessage("system", instructions), ChatMessage("user", orjson.dumps(content).decode())),
        format=schema,
        max_tokens=max_tokens,
        options={name: value for name, value in options.items() if name not in own},
    )


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A whole answer.

    Attributes:
        text: What the model said.
        thinking: What it thought before; empty if it did not.
        cut: Whether it ended at its limit of tokens, or because it repeated itself.
        prompt_tokens: Tokens of the messages; 0 if the node does not report them.
        answer_tokens: Tokens that the model wrote; 0 if the node does not report them.
        repeated: Whether the node ended it because it repeated itself.
    """

    text: str
    thinking: str = ""
    cut: bool = False
    prompt_tokens: int = 0
    answer_tokens: int = 0
    repeated: bool = False


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
        chat_model: The model of all calls. The endpoint may be replaced between calls.
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
            NodeError: No answer came, the answer broke off, or it cannot be read.
        """
        ...
