"""Answers to chat requests, and their events while they are streamed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from prefect_ollama.blocks.errors import ChatError, ClusterError
from prefect_ollama.blocks.nodes import ChatReply, ChatRequest, VerifiedChat
from prefect_ollama.blocks.quantity import quantity


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """One answer that passed the check of its request's schema.

    Attributes:
        text: What the model said.
        value: The parsed JSON if the request has a format; otherwise None.
        thinking: Its thoughts before the answer; empty if there are none.
        node: Name of the node.
        model: Name of the model.
        seconds: Time from the request to the whole answer.
        prompt_tokens: Tokens of the messages; 0 if the node did not report them.
        answer_tokens: Tokens that the model wrote; 0 if the node did not report them.
        cut: Whether it was cut, and the value has only its whole items.
    """

    text: str
    value: Any
    thinking: str
    node: str
    model: str
    seconds: float
    prompt_tokens: int
    answer_tokens: int
    cut: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ChatAnswers:
    """The results of a list of chat requests.

    Attributes:
        answers: In the order of the requests; None for one without an answer.
        failures: By place in the list, why a request has no answer. Empty when all went well.
        rejected: Whole answers that could not be used, because they were cut or did not fit; they cost tokens, too.
    """

    answers: tuple[ChatAnswer | None, ...]
    failures: dict[int, ChatError]
    rejected: tuple[ChatReply, ...] = ()

    @property
    def first_failure(self) -> ChatError:
        """The error of the first request without an answer.

        Raises:
            ValueError: All requests have an answer.
        """
        return self.failures[min(self.failures)]


class ChatUnfinished(ClusterError):
    """The nodes could not finish a list of chat requests.

    Args:
        answers: The results so far, for the caller to keep. Requests with neither answer nor failure are those
            that are left.

    Examples:
        >>> import asyncio
        >>> from prefect_ollama.blocks import OllamaCluster
        >>> from prefect_ollama.blocks.nodes import ChatMessage, ChatRequest, verify_chat
        >>> from prefect_ollama.tasks.dispatch import ChatDispatcher, ChatUnfinished
        >>> cluster = OllamaCluster(nodes=["http://dying-box:11434"], chat_model="gemma3", give_up_after=1).to_spec()
        >>> with ChatDispatcher(asyncio.run(verify_chat(cluster))) as chat:
        ...     try:
        ...         chat.ask([ChatRequest((ChatMessage("user", "Name a colour."),))])
        ...     except ChatUnfinished as error:
        ...         print(error.left)
        1
    """

    def __init__(self, cause: str, *, left: int, answers: ChatAnswers, remedy: str) -> None:
        super().__init__(
            cause,
            left=left,
            state=f"{quantity(left, 'chat request is', 'chat requests are')} left.",
            remedy=remedy,
        )
        self.answers = answers


@dataclass(frozen=True, slots=True)
class ChatText:
    """A piece of an answer that has come."""

    text: str


@dataclass(frozen=True, slots=True)
class ChatRestarted:
    """The pieces so far are void: their node failed, and another one answers from the beginning."""


# The events of an answer; the last one is the answer.
ChatEvent = ChatText | ChatRestarted | ChatAnswer


class Chatting(Protocol):
    """Interface of a chat over nodes: a `ChatDispatcher`, or one with limits."""

    @property
    def chat(self) -> VerifiedChat:
        """The nodes."""

    def ask(self, requests: Sequence[ChatRequest], *, urgent: bool = False) -> ChatAnswers:
        """Send requests, and return one answer or one error for each, in order."""

    def stream(self, request: ChatRequest) -> Iterator[ChatEvent]:
        """Send one request, and yield its answer as it comes; the last event is the whole answer."""
