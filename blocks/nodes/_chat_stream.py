"""The stream in which Ollama answers `/api/chat`: lines of JSON, each bounded, and so is their sum.

A failure in mid-stream is a line of its own under status 200: `{"error": …}`. Source: https://docs.ollama.com/api/chat.
"""

from __future__ import annotations

from typing import Any, Final

from prefect_ollama.blocks.errors import AnswerRejected, NodeFailed
from prefect_ollama.blocks.nodes._disclosure import Disclosure
from prefect_ollama.blocks.nodes._payload import LINE_BOUNDS, checked, member, parse, unusable, whole
from prefect_ollama.blocks.nodes.chat import ChatReply

# Bounds of the characters of an answer. Few tokens of common vocabularies have more than a dozen characters.
_CHARACTERS_A_TOKEN: Final = 64
_MORE_CHARACTERS: Final = 64 * 1024

# A larger count of tokens is ignored. No known model has such a context.
_MOST_PROMPT_TOKENS: Final = 2**24

# Ollama's `done_reason` of an answer that reached its limit of tokens.
_CUT: Final = "length"


# Equal pieces after which Ollama ends the stream, with neither an error nor a last line (`tokenRepeat > 30` in
# llm/server.go of 0.13 and llm/llama_server.go of 0.33). A model in a JSON schema may add blanks without end.
_REPEATED: Final = 30


class ChatStream:
    """Assembles an answer from the lines of a stream."""

    def __init__(self, *, node: str, model: str, max_tokens: int, disclosure: Disclosure) -> None:
        self._node = node
        self._model = model
        self._max_tokens = max_tokens
        self._disclosure = disclosure
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._characters = 0
        self._reply: ChatReply | None = None

    def feed(self, line: bytes) -> str:
        """Add a line, and return its piece of text.

        Raises:
            NodeFailed: The node failed.
            NodeAnswerError: It is no line of such an answer, or the answer is too long.
        """
        return checked(self._read, line, node=self._node, call="/api/chat")

    def finished(self) -> bool:
        """Return whether the answer is complete."""
        return self._reply is not None

    def whole(self) -> ChatReply:
        """Return the answer.

        Raises:
            AnswerRejected: The model repeated itself, and Ollama ended its answer.
            NodeFailed: The stream ended before the answer did.
        """
        if self._reply is None and self._repeated():
            raise AnswerRejected("repeated itself until Ollama ended its answer.", node=self._node)
        if self._reply is None:
            raise NodeFailed(
                "broke off in the middle of an answer.", node=self._node, remedy="Look into its log."
            )
        return self._reply

    def _repeated(self) -> bool:
        """Return whether the last pieces are one token again and again, spaces around it aside."""
        last = [*zip(self._text, self._thinking, strict=True)][-_REPEATED:]
        return len(last) == _REPEATED and len({(text or thinking).strip() for text, thinking in last}) == 1

    def _read(self, line: bytes) -> str:
        event = parse(line, LINE_BOUNDS)
        if type(event) is not dict:
            raise ValueError("a line that is no JSON object")
        if "error" in event:
            said = self._disclosure.words(str(event["error"])[:4096])
            raise NodeFailed(
                f"failed in the middle of an answer{f' ({said})' if said else ''}.",
                node=self._node,
                status=200,
                remedy="Look into its log.",
            )
        message = member(event, "message", dict, {})
        text, thinking = member(message, "content", str, ""), member(message, "thinking", str, "")
        self._text.append(text)
        self._thinking.append(thinking)
        self._characters += len(text) + len(thinking)
        # Not every server keeps to the limit of tokens, and some count none. Characters bound the memory in any case.
        if self._characters > self._max_tokens * _CHARACTERS_A_TOKEN + _MORE_CHARACTERS:
            raise unusable(
                self._node,
                f"answers far more than the {self._max_tokens:,} tokens that were asked for.",
                "Check what answers at its URL; Ollama keeps to `num_predict`.",
            )
        if member(event, "done", bool, False):
            self._reply = self._end(event)
        return text

    def _end(self, event: dict[str, Any]) -> ChatReply:
        reason = member(event, "done_reason", str, "")
        return ChatReply(
            "".join(self._text),
            "".join(self._thinking),
            cut=reason == _CUT,
            prompt_tokens=whole(event.get("prompt_eval_count"), most=_MOST_PROMPT_TOKENS) or 0,
            answer_tokens=whole(event.get("eval_count"), most=_MOST_PROMPT_TOKENS) or 0,
        )
