"""Chat over Ollama's API.

Source of the calls: https://docs.ollama.com/api/chat and https://docs.ollama.com/capabilities/thinking.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from prefect_ollama.blocks.errors import NodeRefused, NodeUnreachable
from prefect_ollama.blocks.nodes._chat_stream import ChatStream
from prefect_ollama.blocks.nodes._dialects import OLLAMA_CHAT, Dialect
from prefect_ollama.blocks.nodes._json_lines import json_lines
from prefect_ollama.blocks.nodes._model_info import ModelInfo
from prefect_ollama.blocks.nodes._ollama import OllamaEndpoint
from prefect_ollama.blocks.nodes._transport import without_context
from prefect_ollama.blocks.nodes.chat import ChatLimits, ChatReply, ChatRequest, Heard
from prefect_ollama.blocks.nodes.loop_lag import timeout_while_running
from prefect_ollama.blocks.nodes.spec import ChatModelSpec, ModelSpec, NodeSpec

# Seconds to wait for the end of a response after its answer is complete, so that the connection can be used again.
END_TIMEOUT_S: Final = 2.0


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
        """Return the answer to a request; see `ChatEndpoint.chat`."""
        model = self.chat_model
        stream = ChatStream(
            node=self.node.name,
            model=model.name,
            max_tokens=request.max_tokens,
            disclosure=self.disclosure,
        )
        begun = False  # whether anything of the answer has come
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
                remedy="Check that it works on the request, or raise its time-outs.",
            ) from None
        return stream.whole()

    def _check_use(self, shown: ModelInfo) -> None:
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
