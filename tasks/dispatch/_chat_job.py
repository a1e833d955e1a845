"""The chat requests of one caller, and their answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from prefect_ollama.blocks.errors import ChatError, PrefectOllamaError
from prefect_ollama.blocks.nodes import ChatReply, ChatRequest
from prefect_ollama.tasks.dispatch._answer_format import Check, check_of
from prefect_ollama.tasks.dispatch._job import BYTES_A_TOKEN, DECODE_AGAIN, Item, Job, unicode_fault
from prefect_ollama.tasks.dispatch.chat import (
    ChatAnswer,
    ChatAnswers,
    ChatEvent,
    ChatRestarted,
    ChatText,
    ChatUnfinished,
)

# Tokens of a prompt that cost as much as one token of the answer: only the prompt is read in parallel.
# Ollama's own figures give 5 to 10 on a CPU and 20 to 40 on a GPU.
PROMPT_TOKENS_A_UNIT: Final = 16.0

# Assumed tokens of an answer before the first answer is complete.
FIRST_ANSWER_TOKENS: Final = 128.0

# The pieces that one node has sent. Attempts are compared by identity, because two may have sent the same pieces.
Attempt = list[str]


class AnswerStream:
    """The stream of an answer to its caller, which passes on the pieces of one attempt at a time.

    If a node fails, another node starts the answer again.

    Guarantees: the pieces after the last `ChatRestarted` are the beginning of the final answer, and all of it once the
    answer is complete.

    Args:
        tell: Called with each event; None if the caller does not stream.
    """

    def __init__(self, tell: Callable[[ChatEvent], None] | None) -> None:
        self._tell = tell or (lambda event: None)
        self._leader: Attempt | None = None
        self._told = False

    def heard(self, attempt: Attempt, piece: str) -> None:
        """Take a piece from the node of an attempt."""
        if not piece:
            return
        attempt.append(piece)
        if self._leader is None:
            self._switch_to(attempt, "".join(attempt))
        elif self._leader is attempt:
            self._tell(ChatText(piece))

    def failed(self, attempt: Attempt) -> None:
        """Note that an attempt failed. The stream then restarts with the text of the next attempt."""
        if self._leader is attempt:
            self._leader = None

    def finish(self, attempt: Attempt, text: str) -> None:
        """Pass on the rest of the final answer; `text` is the whole answer of the attempt that succeeded."""
        if self._leader is not attempt or "".join(attempt) != text:
            self._switch_to(attempt, text)

    def _switch_to(self, attempt: Attempt, text: str) -> None:
        if self._told:
            self._tell(ChatRestarted())
        self._leader, self._told = attempt, bool(text)
        if text:
            self._tell(ChatText(text))


@dataclass(slots=True, eq=False)
class Rejections:
    """The answers to a request that could not be used.

    Attributes:
        replies: The answers, by the name of their node.
        part: The whole items of one of them that was cut, with this answer. It is the result if no answer is whole.
    """

    replies: list[tuple[str, ChatReply]] = field(default_factory=list)
    part: tuple[Chatted, ChatReply] | None = None

    def of(self, node: str) -> int:
        """Return how many of the answers a node gave."""
        return sum(name == node for name, _ in self.replies)


@dataclass(frozen=True, slots=True, eq=False)
class SentChat:
    """One attempt to send a chat request, with the pieces of its answer so far.

    Attributes:
        rejections: The answers to the request that could not be used; this attempt may add another one.
    """

    request: ChatRequest
    check: Check
    stream: AnswerStream
    rejections: Rejections
    attempt: Attempt = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class Chatted:
    """An answer that fits, and the request that it answers."""

    sent: SentChat
    answer: ChatAnswer

    @property
    def tokens(self) -> int:
        """Tokens that the node counted."""
        return self.answer.prompt_tokens + self.answer.answer_tokens


class ChatJob(Job[ChatAnswers]):
    """The chat requests of one caller. The result is a `ChatAnswers`.

    Args:
        answer_tokens: Mean number of tokens of the answers so far.
        tell: Called with the events of the only request, if its caller streams.

    Raises:
        ConfigurationError: The format of a request is not a valid JSON schema.
    """

    def __init__(
        self,
        requests: Sequence[ChatRequest],
        *,
        urgent: bool,
        answer_tokens: float = FIRST_ANSWER_TOKENS,
        tell: Callable[[ChatEvent], None] | None = None,
        avoid: frozenset[str] = frozenset(),
    ) -> None:
        self._answer_tokens = answer_tokens
        self._answers: list[ChatAnswer | None] = [None] * len(requests)
        self._rejections: dict[int, Rejections] = {id(each): Rejections() for each in requests}
        self._stream = AnswerStream(tell)
        self._checks = _checks(requests)
        super().__init__(requests, urgent=urgent, limit=1, avoid=avoid)
        self.may_hedge = tell is None  # two nodes at once would stream the same answer twice
        for item in self.items:
            if why := next(filter(None, (unicode_fault(each.content) for each in item.payload.messages)), ""):
                words = last_words(item.payload)
                error = ChatError(why, request=words, state="It was not sent.", remedy=DECODE_AGAIN)
                self.refuse(item, error)

    def cost(self, payload: ChatRequest) -> float:
        """Return the units of a request: a token of an answer is one."""
        return prompt_units(payload) + min(self._answer_tokens, payload.max_tokens)

    def revalue(self) -> bool:
        """Estimate the open requests by the mean length of this job's answers, where it has changed by a tenth."""
        lengths = [each.answer_tokens for each in self._answers if each is not None and each.answer_tokens]
        mean = sum(lengths) / len(lengths) if lengths else self._answer_tokens
        if abs(mean - self._answer_tokens) <= 0.1 * self._answer_tokens:
            return False
        self._answer_tokens = mean
        for item in self.items:
            if not item.done:
                item.units = self.cost(item.payload)
        return True

    def prepared(self, payload: ChatRequest) -> SentChat:
        return SentChat(
            payload, self._checks[id(payload.format)], self._stream, self._rejections[id(payload)]
        )

    def keep(self, index: int, result: Chatted, node: str) -> None:
        self._answers[index] = result.answer
        self._stream.finish(result.sent.attempt, result.answer.text)

    def refuse(self, item: Item, error: PrefectOllamaError) -> None:
        """Set the error of an item, or the complete items of its answer that was cut."""
        rejections = self._rejections[id(item.payload)]
        if rejections.part is None:
            super().refuse(item, error)
            return
        (result, used), rejections.part = rejections.part, None
        # The tokens of the partial answer count like those of a complete answer.
        rejections.replies = [each for each in rejections.replies if each[1] is not used]
        self.settle(item, result, result.answer.node, (result.answer.seconds, result.tokens))

    def result(self) -> ChatAnswers:
        rejected = [reply for each in self._rejections.values() for _, reply in each.replies]
        return ChatAnswers(tuple(self._answers), dict(self.failures), tuple(rejected))

    def unfinished(self, why: str, remedy: str) -> ChatUnfinished:
        return ChatUnfinished(why, left=self.left, answers=self.result(), remedy=remedy)


def prompt_units(request: ChatRequest) -> float:
    """Return the work of reading the messages of a request."""
    return request.size / BYTES_A_TOKEN / PROMPT_TOKENS_A_UNIT


def last_words(request: ChatRequest) -> str:
    """Return the last message of a request, which stands for it in errors."""
    said = request.messages[-1].content if request.messages else ""
    return said.encode("utf-8", "backslashreplace").decode()


def _checks(requests: Sequence[ChatRequest]) -> dict[int, Check]:
    """Return a check for each schema, by the `id` of the schema."""
    # Many requests share a schema, and compiling it takes a millisecond.
    schemas: dict[int, Mapping[str, Any] | None] = {id(each.format): each.format for each in requests}
    return {key: check_of(schema) for key, schema in schemas.items()}
