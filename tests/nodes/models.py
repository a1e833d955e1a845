"""The models of a simulated node, and Ollama's calls about them: which are there, loaded, and pulled."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import orjson

from tests.nodes.protocol import TEXT, Exchange, head_of
from tests.nodes.settings import Settings

EPOCH = "2026-01-01T00:00:00Z"
SIZE = 45960996
METHODS = {
    "/": "GET",
    "/api/version": "GET",
    "/api/tags": "GET",
    "/api/ps": "GET",
    "/api/show": "POST",
    "/api/pull": "POST",
}


class Refused(Exception):
    """A request is answered with an error of Ollama's."""

    def __init__(self, status: int, message: str) -> None:
        """Status and Ollama's words."""
        super().__init__(message)
        self.status = status


def tagged(model: str) -> str:
    """A model's full name."""
    return model if ":" in model else f"{model}:latest"


def no_model(model: str) -> str:
    """Ollama's words for a model that isn't there."""
    return f'model "{model}" not found, try pulling it first'


def asked_of(exchange: Exchange) -> dict[str, Any]:
    """The JSON object that a request brings.

    Raises:
        Refused: when it brings none.
    """
    if exchange.method != "POST":
        raise Refused(405, "method not allowed")
    if not exchange.body:
        raise Refused(400, "missing request body")
    try:
        asked = orjson.loads(exchange.body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"invalid character in JSON: {error}") from None
    if not isinstance(asked, dict):
        raise Refused(400, "json: cannot unmarshal into Go value of type api.EmbedRequest")
    return asked


class Models:
    """Which models are there and which one is loaded."""

    def __init__(self, settings: Settings) -> None:
        """Those of the settings are there, none is loaded."""
        self._settings = settings
        self._there = {tagged(model) for model in settings.models}
        self._loaded: bytes | None = None
        self.loads = 0

    def change(self, settings: Settings) -> None:
        """Take other settings; what was pulled stays unless they name other models."""
        if settings.models != self._settings.models:
            self._there = {tagged(model) for model in settings.models}
        self._settings = settings

    def present(self, asked: dict[str, Any]) -> str:
        """The name of the model asked for.

        Raises:
            Refused: when it is none, or not there.
        """
        model = asked.get("model") or asked.get("name")
        if not isinstance(model, str) or not model or model.strip("/:") != model:
            raise Refused(400, "invalid model name")
        if tagged(model) not in self._there:
            raise Refused(404, no_model(model))
        return model

    def load(self, model: str, asked: dict[str, Any]) -> float:
        """Seconds until the model is there with these options."""
        wanted = orjson.dumps([tagged(model), asked.get("options") or {}], option=orjson.OPT_SORT_KEYS)
        cold = wanted != self._loaded
        self._loaded = wanted if asked.get("keep_alive") != 0 else None
        self.loads += cold
        return self._settings.load_seconds if cold else 0.0

    def _digest(self, model: str) -> str:
        return self._settings.digest or hashlib.sha256(model.encode()).hexdigest()

    def _row(self, model: str) -> dict[str, Any]:
        details = {"format": "gguf", "family": "bert", "parameter_size": "23M", "quantization_level": "F16"}
        return {
            "name": model,
            "model": model,
            "size": SIZE,
            "digest": self._digest(model),
            "details": details,
        }

    def answer(self, exchange: Exchange, path: str, *, hidden: bool) -> None:
        """Answer a call that is not `/api/embed`; `hidden` models are on no list.

        Raises:
            Refused: when Ollama would.
        """
        there = [] if hidden else sorted(self._there)
        method = METHODS.get(path)
        if method is None:
            exchange.reply(404, b"404 page not found", content_type=TEXT)
        elif exchange.method != method and (method, exchange.method) != ("GET", "HEAD"):
            exchange.reply(405, b"405 method not allowed", content_type=TEXT)
        elif path == "/":
            exchange.reply(200, b"Ollama is running", content_type=TEXT)
        elif path == "/api/version":
            exchange.reply_json({"version": self._settings.version})
        elif path == "/api/tags":
            rows = [{**self._row(model), "modified_at": EPOCH} for model in there]
            exchange.reply_json({"models": rows})
        elif path == "/api/ps":
            loaded = orjson.loads(self._loaded)[0] if self._loaded else None
            more = {
                "size_vram": round(SIZE * self._settings.on_gpu),
                "expires_at": EPOCH,
                "context_length": self._settings.context_length,
            }
            exchange.reply_json({"models": [self._row(m) | more for m in there if m == loaded]})
        elif path == "/api/show":
            self.present(asked := asked_of(exchange))
            exchange.reply_json(self._show(tagged(asked.get("model") or asked["name"])))
        else:
            self._pull(exchange, asked_of(exchange))

    def _show(self, model: str) -> dict[str, Any]:
        info = {
            "general.architecture": "bert",
            "bert.embedding_length": self._settings.dimension,
            "bert.context_length": self._settings.context_length,
        }
        row = self._row(model)
        return {
            "capabilities": list(self._settings.capabilities),
            "details": row["details"],
            "model_info": info,
            "modified_at": EPOCH,
        }

    def _pull(self, exchange: Exchange, asked: dict[str, Any]) -> None:
        model = asked.get("model") or asked.get("name")
        if not isinstance(model, str) or not model:
            raise Refused(400, "invalid model name")
        digest = self._digest(tagged(model))
        layer = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": 1000}
        steps: list[dict[str, Any]] = [{"status": "pulling manifest"}]
        steps += [{**layer, "completed": done} for done in range(0, 1001, 250)]
        if self._settings.pull_error is not None:
            steps[3:] = [{"error": self._settings.pull_error}]
        else:
            steps += [{"status": word} for word in ("verifying sha256 digest", "writing manifest", "success")]
        pause = self._settings.pull_seconds / len(steps)
        if stream := asked.get("stream", True):
            exchange.write(head_of(200, None, "application/x-ndjson"))

        def step(number: int) -> None:
            if not exchange.open:
                return
            if stream:
                exchange.write_chunk(orjson.dumps(steps[number]) + b"\n")
            if number + 1 < len(steps):
                asyncio.get_running_loop().call_later(pause, step, number + 1)
                return
            if self._settings.pull_error is None:
                self._there.add(tagged(model))
            if stream:
                exchange.write_chunk(b"")
                exchange.finish()
            else:
                exchange.reply_json(steps[-1], 500 if "error" in steps[-1] else 200)

        step(0)
