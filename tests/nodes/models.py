"""The models of a simulated node, and Ollama's calls about them: which are there, loaded, and pulled."""

from __future__ import annotations

import asyncio
import hashlib
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from tests.nodes.protocol import NDJSON, PLAIN, TEXT, Exchange, head_of
from tests.nodes.requests import Refused, asked_of, canonical, keep_alive
from tests.nodes.settings import Settings

EPOCH = "2026-01-01T00:00:00Z"
FOR_EVER = "2318-04-12T00:00:00.123456789Z"
SIZE = 45960996
CHAT_CONTEXT, CHAT_DIMENSION = 4096, 640
METHODS = {
    "/": "GET",
    "/api/version": "GET",
    "/api/tags": "GET",
    "/api/ps": "GET",
    "/api/show": "POST",
    "/api/pull": "POST",
    "/api/embed": "POST",
    "/api/embeddings": "POST",
    "/api/chat": "POST",
    "/api/generate": "POST",
    "/v1/embeddings": "POST",
}
UNLOAD_SECONDS = 0.2
"""Time for which an old version still lists a model that it was told to unload."""


def tagged(model: str) -> str:
    """A model's full name."""
    # As Ollama compares names.
    name = model.lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return name if ":" in name else f"{name}:latest"


def no_model(model: str) -> str:
    """Ollama's words for a model that isn't there."""
    return f'model "{model}" not found, try pulling it first'


class Models:
    """Which models are there and which ones are loaded."""

    def __init__(self, settings: Settings) -> None:
        """Those of the settings are there, none is loaded."""
        self._settings = settings
        self._there = self._named(settings)
        self._loaded: dict[str, tuple[bytes, float]] = {}
        self.loads = 0

    @staticmethod
    def _named(settings: Settings) -> dict[str, str]:
        return {canonical(model): tagged(model) for model in (*settings.models, *settings.chat_models)}

    def change(self, settings: Settings) -> None:
        """Take other settings; what was pulled stays unless they name other models."""
        if settings.models != self._settings.models:
            self._there = self._named(settings)
        self._settings = settings

    def present(self, asked: dict[str, Any], *, missing: str = "") -> str:
        """The name of the model asked for, as it was written.

        Raises:
            Refused: when it is none, or not there.
        """
        model = asked.get("model") or asked.get("name") or ""
        if not isinstance(model, str) or not model:
            raise Refused(404, "model '' not found")
        if canonical(model) not in self._there:
            raise Refused(404, missing or no_model(model))
        return model

    def chats(self, model: str) -> bool:
        """Whether it is a model that chats."""
        return canonical(model) in map(canonical, self._settings.chat_models)

    def load(self, model: str, asked: dict[str, Any]) -> float:
        """Seconds until the model is there with these options."""
        name = canonical(model)
        wanted = orjson.dumps(asked.get("options") or {}, option=orjson.OPT_SORT_KEYS)
        cold = self._loaded.pop(name, (None, 0.0))[0] != wanted
        if (seconds := keep_alive(asked)) > 0:
            self._loaded = {name: (wanted, seconds)} | self._loaded  # the last one used comes first
        self.loads += cold
        return self._settings.load_seconds if cold else 0.0

    def unload(self, model: str) -> None:
        """Take a model out of memory; an old version lists it a little longer."""
        name = canonical(model)
        if self._settings.new:
            self._loaded.pop(name, None)
        else:
            asyncio.get_running_loop().call_later(UNLOAD_SECONDS, self._loaded.pop, name, None)

    def _digest(self, model: str) -> str:
        given = self._settings.digest
        return hashlib.sha256(model.encode()).hexdigest() if given is None else given

    def _details(self, model: str) -> dict[str, Any]:
        family = "gemma3" if self.chats(model) else "bert"
        return {
            "parent_model": "",
            "format": "gguf",
            "family": family,
            "families": [family],
            "parameter_size": "23M",
            "quantization_level": self._settings.quantization,
        }

    def _row(self, model: str) -> dict[str, Any]:
        return {
            "name": model,
            "model": model,
            "size": SIZE,
            "digest": self._digest(model),
            "details": self._details(model),
        }

    def _listed(self, model: str) -> dict[str, Any]:
        row = self._row(model) | {"modified_at": EPOCH}
        if self._settings.new:
            row["capabilities"] = ["completion"]  # wrong for embedding models, as with Ollama
            if self.chats(model):
                row["details"] |= {
                    "context_length": self._settings.chat_context,
                    "embedding_length": CHAT_DIMENSION,
                }
        return row

    def _running(self, name: str) -> dict[str, Any]:
        _, seconds = self._loaded[name]
        chats = self.chats(name)
        return self._row(self._there[name]) | {
            "size_vram": round(SIZE * self._settings.on_gpu),
            "expires_at": FOR_EVER
            if math.isinf(seconds)
            else (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z"),
            "context_length": CHAT_CONTEXT if chats else self._settings.context_length,
        }

    def answer(self, exchange: Exchange, path: str, *, hidden: bool) -> None:
        """Answer a call that embeds nothing; `hidden` models are on no list.

        Raises:
            Refused: when Ollama would.
        """
        there = [] if hidden else sorted(self._there.values())
        if path == "/":
            exchange.reply(200, b"Ollama is running", content_type=TEXT)
        elif path == "/api/version":
            exchange.reply_json({"version": self._settings.version})
        elif path == "/api/tags":
            exchange.reply_json({"models": [self._listed(model) for model in there]})
        elif path == "/api/ps":
            names = [name for name in self._loaded if self._there.get(name) in there]
            exchange.reply_json({"models": [self._running(name) for name in names]})
        elif path == "/api/show":
            asked = asked_of(exchange, "ShowRequest")
            named = asked.get("model") or asked.get("name") or ""
            shown = tagged(named) if self._settings.new and named else named
            self.present(asked, missing=f"model '{shown}' not found")
            exchange.reply_json(self._show(self._there[canonical(named)]))
        else:
            self._pull(exchange, asked_of(exchange, "PullRequest"))

    def _show(self, model: str) -> dict[str, Any]:
        chats = self.chats(model)
        architecture = "gemma3" if chats else "bert"
        context = self._settings.chat_context if chats else self._settings.context_length
        return {
            "modelfile": f"FROM {model}\n" + "# As long as with Ollama.\n" * 100,
            "template": "{{ .Prompt }}",
            "capabilities": list(self._settings.chat_capabilities if chats else self._settings.capabilities),
            "details": self._details(model),
            "model_info": {
                "general.architecture": architecture,
                f"{architecture}.embedding_length": CHAT_DIMENSION if chats else self._settings.dimension,
                f"{architecture}.context_length": context,
                "tokenizer.ggml.tokens": None,
            },
            "tensors": [
                {"name": "token_embd.weight", "type": "F16", "shape": [self._settings.dimension, 30522]}
            ],
            "modified_at": EPOCH,
        }

    def _pull(self, exchange: Exchange, asked: dict[str, Any]) -> None:
        model = asked.get("model") or asked.get("name")
        if not isinstance(model, str) or not model:
            raise Refused(400, "invalid model name")
        name = canonical(model)
        digest = self._digest(tagged(model))
        layer = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": 1000}
        steps: list[dict[str, Any]] = [{"status": "pulling manifest"}]
        steps += [{**layer, "completed": done} for done in range(0, 1001, 250)]
        if self._settings.pull_error is not None:
            steps[self._settings.pull_error_after :] = [{"error": self._settings.pull_error}]
        else:
            steps += [{"status": word} for word in ("verifying sha256 digest", "writing manifest", "success")]
        pause = self._settings.pull_seconds / len(steps)
        if stream := asked.get("stream", True):
            exchange.write(head_of(200, None, NDJSON))

        def step(number: int) -> None:
            if not exchange.open:
                return
            if stream:
                exchange.write_chunk(orjson.dumps(steps[number]) + b"\n")
            if number + 1 < len(steps):
                asyncio.get_running_loop().call_later(pause, step, number + 1)
                return
            if self._settings.pull_error is None:
                self._there[name] = tagged(model)
            if stream:
                exchange.write_chunk(b"")
                exchange.finish()
            else:
                exchange.reply_json(steps[-1], 500 if "error" in steps[-1] else 200)

        step(0)


def refuse_method(exchange: Exchange, path: str) -> bool:
    """Answer a path or a method that Ollama does not know; whether it was one."""
    method = METHODS.get(path)
    if method is None:
        exchange.reply(404, b"404 page not found", content_type=PLAIN)
    elif exchange.method != method and (method, exchange.method) != ("GET", "HEAD"):
        exchange.reply(405, b"405 method not allowed", content_type=PLAIN, headers=[("Allow", method)])
    else:
        return False
    return True
