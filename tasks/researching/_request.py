"""Requests of the steps: instructions, data as JSON, and an answer in a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from prefect_ollama.blocks.nodes import ChatMessage, ChatModelSpec, ChatRequest
from prefect_ollama.tasks.answering import answer_room

_OPTIONS: Final = {"temperature": 0.0, "seed": 0}


def json_request(
    instructions: str,
    content: Mapping[str, Any],
    schema: Mapping[str, Any],
    model: ChatModelSpec,
    answer_tokens: int,
) -> ChatRequest:
    """Return a request whose data cannot leave their place, because they travel as JSON.

    Args:
        instructions: What the model has to do.
        content: The data.
        schema: JSON schema of the answer.
        model: The chat model; its own options win over ours.
        answer_tokens: Tokens of the answer at most, without its thinking.
    """
    own = dict(model.options)
    return ChatRequest(
        (ChatMessage("system", instructions), ChatMessage("user", orjson.dumps(content).decode())),
        format=schema,
        max_tokens=answer_room(model, answer_tokens),
        options={name: value for name, value in _OPTIONS.items() if name not in own},
    )
