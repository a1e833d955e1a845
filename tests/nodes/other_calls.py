"""Ollama's calls beside `/api/embed` and `/api/chat`. They cost no time here."""

from __future__ import annotations

import base64

import numpy as np
import orjson

from tests.nodes.models import EPOCH, Models
from tests.nodes.protocol import JSON, PLAIN_JSON, Exchange
from tests.nodes.requests import Refused, asked_of, texts_of
from tests.nodes.settings import Settings
from tests.nodes.tokens import cut_to, tokens_of
from tests.nodes.vectors import cut, expected_vector

TYPES = {404: "not_found_error"}


def v1_embeddings(exchange: Exchange, models: Models, settings: Settings) -> None:
    """OpenAI's form: no `truncate`, no `options`, errors in a shape of their own."""
    try:
        asked = asked_of(exchange)
        form = asked.get("encoding_format", "float")
        if form not in ("float", "base64"):
            words = f"Invalid value for 'encoding_format' = {form}. Supported values: ['float', 'base64']."
            raise Refused(400, words)
        if asked.get("input") in (None, []):
            raise Refused(400, "invalid input")
    except Refused as refused:
        _v1_error(exchange, refused, JSON)
        return
    try:
        given = asked["input"]
        texts = [given] if given == "" else texts_of(given)
        models.present(asked)
    except Refused as refused:
        _v1_error(exchange, refused, PLAIN_JSON)
        return
    data = []
    count = 0
    for index, text in enumerate(texts):
        text = cut_to(text, settings.context_length, settings)
        count += tokens_of(text, settings)
        vector = expected_vector(text, settings.dimension, settings.weights, pool=settings.pool)
        if (dimensions := asked.get("dimensions") or 0) > 0:
            vector = cut(vector, dimensions)
        packed = base64.b64encode(vector.astype("<f4").tobytes()).decode()
        data.append(
            {"object": "embedding", "embedding": packed if form == "base64" else vector, "index": index}
        )
    usage = {"prompt_tokens": count, "total_tokens": count}
    answer = {"object": "list", "data": data, "model": asked["model"], "usage": usage}
    exchange.reply(200, orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), content_type=PLAIN_JSON)


def old_embeddings(exchange: Exchange, models: Models, settings: Settings) -> None:
    """One `prompt`, never cut."""
    asked = asked_of(exchange)
    models.present(asked)
    prompt = asked.get("prompt") or ""
    if tokens_of(prompt, settings) > settings.context_length:
        raise Refused(500, "the input length exceeds the context length")
    vector = expected_vector(prompt, settings.dimension, settings.weights, pool=settings.pool)
    answer = {"embedding": vector.astype(np.float64) if prompt else []}
    exchange.reply(200, orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY))


def generate(exchange: Exchange, models: Models) -> None:
    """`/api/generate`, which unloads a model and does nothing else here."""
    asked = asked_of(exchange)
    model = models.present(asked)
    if not asked.get("prompt") and asked.get("keep_alive") == 0:
        models.unload(model)
        exchange.reply_json(
            {"model": model, "created_at": EPOCH, "response": "", "done": True, "done_reason": "unload"}
        )
        return
    if not models.chats(model):
        raise Refused(400, f'"{model}" does not support generate')
    raise Refused(501, "simulated nodes chat")


def _v1_error(exchange: Exchange, refused: Refused, content_type: str) -> None:
    kind = TYPES.get(refused.status, "invalid_request_error")
    error = {"message": str(refused), "type": kind, "param": None, "code": None}
    exchange.reply(refused.status, orjson.dumps({"error": error}), content_type=content_type)
