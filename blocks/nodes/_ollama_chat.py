"""Chat over Ollama's API.

Source of the calls: https://docs.ollama.com/api/chat and https://docs.ollama.com/capabilities/thinking.
"""

from typing import Any, ClassVar, Final

from prefect_ollama.blocks.errors import NodeFailed, NodeRefused, NodeUnreachable
from prefect_ollama.blocks.nodes._body import checked, json_lines, member, parse_event, unusable, whole
from prefect_ollama.blocks.nodes._dialects import OLLAMA_CHAT, Dialect
from prefect_ollama.blocks.nodes._disclosure import Disclosure
from prefect_ollama.blocks.nodes._ollama import OllamaEndpoint
from prefect_ollama.blocks.nodes._transport import without_context
from prefect_ollama.blocks.nodes.chat import ChatLimits, ChatReply, ChatRequest, Heard
from prefect_ollama.blocks.nodes.endpoint import NodeModel
from prefect_ollama.blocks.nodes.loop_lag import timeout_while_running
from prefect_ollama.blocks.nodes.spec import ChatModelSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.quantity import quantity

# Seconds to wait for the end of a response after its answer is complete, so that the connection can be used again.
END_TIMEOUT_S: Final = 2.0

# Bounds of the characters of an answer. Few tokens of common vocabularies have more than a dozen characters.
_CHARACTERS_A_TOKEN: Final = 64
_MORE_CHARACTERS: Final = 64 * 1024

# A larger count of tokens is ignored. No known model has such a context.
_MAX_PROMPT_TOKENS: Final = 2**24

# Ollama's `done_reason` of an answer that reached its limit of tokens.
_CUT: Final = "length"


# Equal pieces after which Ollama ends the stream, with neither an error nor a last line (`tokenRepeat > 30` in
# llm/server.go of 0.13 and llm/llama_server.go of 0.33). A model in a JSON schema may add blanks without end.
_REPEATED: Final = 30


class OllamaChat(OllamaEndpoint):
    """One Ollama server and one chat model: a `ChatEndpoint`. Use it in one event loop, and close it there."""

    dialect: ClassVar[Dialect] = OLLAMA_CHAT

    def __init__(self, node: NodeSpec, chat_model: ChatModelSpec) -> None:
        super().__init__(node, _as_model(chat_model))
        self._chat_model = chat_model

    @property
    def chat_model(self) -> ChatModelSpec:
        """The model of all calls."""
        return self._chat_model

    @chat_model.setter
    def chat_model(self, chat_model: ChatModelSpec) -> None:
        self._chat_model, self.model = chat_model, _as_model(chat_model)

    async def chat(
        self, request: ChatRequest, *, limits: ChatLimits, heard: Heard | None = None
    ) -> ChatReply:
        model = self.chat_model
        stream = _ChatStream(self.node.name, request.max_tokens, self.disclosure)
        begun = False  # whether a part of the answer has arrived
        try:
            with without_context():
                async with (
                    timeout_while_running(limits.first) as restart,
                    self._transport.open("api/chat", _payload(model, request)) as response,
                ):
                    async for line in json_lines(response, self.node.name, "while it answered"):
                        if stream.finished():
                            continue
                        piece, begun = stream.feed(line), True
                        restart(END_TIMEOUT_S if stream.finished() else limits.between)
                        if heard is not None:
                            heard(piece)
        except TimeoutError:
            if stream.finished():
                return stream.whole()
            what, seconds = ("first", limits.first) if not begun else ("next", limits.between)
            raise NodeUnreachable(
                f"did not send the {what} token of an answer within {seconds:.3g} s.",
                node=self.node.name,
                silent=True,
                remedy="Check whether it works on the request, or raise the timeouts in its block.",
            ) from None
        return stream.whole()

    def _check_use(self, shown: NodeModel) -> None:
        """Refuse a model that cannot chat, or that cannot think if it should."""
        model, can = self.chat_model, shown.capabilities
        if can and "completion" not in can:
            raise NodeRefused(
                f"has {model.name!r}, which is no chat model (it can do {', '.join(can)}).",
                node=self.node.name,
                remedy="Name a chat model, for example qwen3 or llama3.2.",
            )
        if can and model.think and "thinking" not in can:
            raise NodeRefused(
                f"has {model.name!r}, which cannot think (it can do {', '.join(can)}).",
                node=self.node.name,
                remedy="Switch thinking off, or name a model that thinks, for example qwen3.",
            )


class _ChatStream:
    """Assembles an answer from the lines of a stream. The sizes of each line and of the whole are bounded.

    A failure in mid-stream is a line of its own under status 200: `{"error": …}`.
    """

    def __init__(self, node: str, max_tokens: int, disclosure: Disclosure) -> None:
        self._node = node
        self._max_tokens = max_tokens
        self._disclosure = disclosure
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._characters = 0
        self._reply: ChatReply | None = None

    def feed(self, line: bytes) -> str:
        """Add a line, and return its piece of text; `NodeFailed` or `NodeAnswerError` if it is none."""
        return checked(self._read, line, node=self._node, call="/api/chat")

    def finished(self) -> bool:
        """Return whether the answer is complete."""
        return self._reply is not None

    def whole(self) -> ChatReply:
        """Return the answer; `NodeFailed` if it broke off."""
        if self._reply is None and self._repeated():
            # The last line of a stream has the counts of tokens, and did not come.
            return ChatReply("".join(self._text), "".join(self._thinking), cut=True, repeated=True)
        if self._reply is None:
            raise NodeFailed("broke off in the middle of an answer.", node=self._node, remedy="Read its log.")
        return self._reply

    def _repeated(self) -> bool:
        """Return whether the last pieces are one token again and again, spaces around it aside."""
        last = [*zip(self._text, self._thinking, strict=True)][-_REPEATED:]
        return len(last) == _REPEATED and len({(text or thinking).strip() for text, thinking in last}) == 1

    def _read(self, line: bytes) -> str:
        event = parse_event(line)
        if "error" in event:
            said = self._disclosure.words(str(event["error"])[:4096])
            raise NodeFailed(
                f"failed in the middle of an answer{f' ({said})' if said else ''}.",
                node=self._node,
                status=200,
                remedy="Read its log.",
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
                f"answers far more than the {quantity(self._max_tokens, 'token that was', 'tokens that were')} asked "
                "for.",
                "Check what answers at its URL; Ollama keeps to `num_predict`.",
            )
        reason = member(event, "done_reason", str, "")
        # Some engines end a stream with a reason alone.
        if member(event, "done", bool, False) or reason:
            self._reply = self._end(event, reason)
        return text

    def _end(self, event: dict[str, Any], reason: str) -> ChatReply:
        return ChatReply(
            "".join(self._text),
            "".join(self._thinking),
            cut=reason == _CUT,
            prompt_tokens=whole(event.get("prompt_eval_count"), most=_MAX_PROMPT_TOKENS) or 0,
            answer_tokens=whole(event.get("eval_count"), most=_MAX_PROMPT_TOKENS) or 0,
        )


def _as_model(chat_model: ChatModelSpec) -> ModelSpec:
    return ModelSpec(chat_model.name, keep_alive=chat_model.keep_alive)


def _payload(model: ChatModelSpec, request: ChatRequest) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "model": model.name,
        "messages": [{"role": each.role, "content": each.content} for each in request.messages],
        "stream": True,
        # Without these two Ollama drops the oldest messages, or the beginning of the context, without a word.
        # Versions before 0.13 do not know them, and ignore them.
        "truncate": False,
        "shift": False,
        "keep_alive": model.keep_alive,
        "options": {**model.all_options, **request.options, "num_predict": request.max_tokens},
    }
    if request.format is not None:
        payload["format"] = dict(request.format)
    if model.think is not None:
        payload["think"] = model.think
    return payload
