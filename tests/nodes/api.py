"""Ollama's HTTP API as far as embedding needs it, with the words and the statuses of the real one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from tests.nodes.faults import IMMEDIATE, STATUSES, Armed, Fault
from tests.nodes.protocol import TEXT, Exchange, head_of
from tests.nodes.service import Job, Service
from tests.nodes.settings import Settings
from tests.nodes.vectors import CHARACTERS_A_TOKEN, Serialised, text_digest, tokens
from tests.nodes.wrong import DELIVER, SPOIL

PAGE = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>"
EPOCH = "2026-01-01T00:00:00Z"


def tagged(model: str) -> str:
    """A model's full name."""
    return model if ":" in model else f"{model}:latest"


class Refused(Exception):
    """A request is answered with an error of Ollama's."""

    def __init__(self, status: int, message: str) -> None:
        """Status and Ollama's words."""
        super().__init__(message)
        self.status = status


class Api:
    """Answers requests; counts them."""

    def __init__(self, settings: Settings, on_request: Callable[[], None]) -> None:
        """`on_request` is called before each embed request is counted."""
        self.settings = settings
        self.service = Service(settings.slots, settings.speed)
        self.faults: list[Armed] = []
        self._on_request = on_request
        self._loop = asyncio.get_running_loop()
        self._models = {tagged(model) for model in settings.models}
        self._vectors = Serialised(settings.dimension, settings.pool, settings.cosine)
        self._loaded: bytes | None = None
        self.in_flight = 0
        self.reset()

    def change(self, settings: Settings) -> None:
        """Take other settings; requests that were already received keep the cost they had."""
        old, self.settings = self.settings, settings
        if old.models != settings.models:
            self._models = {tagged(model) for model in settings.models}
        shape = (settings.dimension, settings.pool, settings.cosine)
        if (old.dimension, old.pool, old.cosine) != shape:
            self._vectors = Serialised(*shape)

    def reset(self) -> None:
        """Begin counting anew."""
        self.requests = self.texts = self.answered = self.texts_answered = 0
        self.cancelled = self.max_in_flight = self.loads = 0
        self.paths: dict[str, int] = {}
        self.served: dict[bytes, int] = {}
        self.service.busy.clear()
        self.service.max_in_service = 0

    def counts(self) -> dict[str, float]:
        """The numbers. `in_flight` are embed requests received and not answered yet."""
        return {
            "requests": self.requests,
            "texts": self.texts,
            "answered": self.answered,
            "texts_answered": self.texts_answered,
            "cancelled": self.cancelled,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "in_service": self.service.in_service,
            "max_in_service": self.service.max_in_service,
            "queued": self.service.queued,
            "loads": self.loads,
            "hits": sum(armed.hits for armed in self.faults),
        }

    def handle(self, exchange: Exchange) -> None:
        """Answer one request, now or later."""
        settings = self.settings
        for name, value in settings.headers.items():
            if exchange.headers.get(name.lower()) != value:
                self._fail(exchange, Fault("unauthorized" if settings.refuse_status == 401 else "forbidden"))
                return
        path = exchange.path
        if settings.prefix:
            if not path.startswith(settings.prefix):
                exchange.reply(404, b"404 page not found", content_type=TEXT)
                return
            path = path.removeprefix(settings.prefix)
        self.paths[path] = self.paths.get(path, 0) + 1
        try:
            if path == "/api/embed":
                self._embed(exchange)
            elif (fault := self._struck(path, [])) is not None:
                self._fail(exchange, fault)
            else:
                self._other(exchange, path)
        except Refused as refused:
            exchange.error(refused.status, str(refused))

    def _struck(self, path: str, texts: list[str]) -> Fault | None:
        now = self._loop.time()
        for armed in self.faults:
            if armed.strikes(path, texts, now):
                return armed.fault
        return None

    def _fail(self, exchange: Exchange, fault: Fault, model: str = "") -> None:
        """Answer with a fault that needs no vectors."""
        if fault.name == "hang":
            pass
        elif fault.name == "close":
            exchange.close()
        elif fault.name == "redirect":
            exchange.reply(307, content_type="", headers=[("Location", fault.location)])
        elif fault.name == "html":
            exchange.reply(200, PAGE, content_type="text/html")
        else:
            status, words = STATUSES[fault.name]
            if fault.name == "missing_model":
                words = _no_model(model)
            headers = [("Retry-After", fault.retry_after)] if fault.retry_after is not None else []
            if (words := fault.message or words) is None:
                exchange.reply(status, content_type="", headers=headers)
            else:
                exchange.error(status, words, headers)

    # /api/embed

    def _embed(self, exchange: Exchange) -> None:
        settings = self.settings
        asked = _asked(exchange)
        texts = _texts(asked.get("input"))
        model = self._present(asked)
        if not texts:
            self._load(model, asked)
            exchange.reply_json({"model": model, "embeddings": [], "total_duration": 1, "load_duration": 1})
            return
        self._on_request()  # may take the node down
        fault = self._struck("/api/embed", texts)
        for armed in self.faults:
            armed.seen += 1
        self.requests += 1
        self.texts += len(texts)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        exchange.gone = self._left
        if exchange.connection.transport.is_closing():
            return

        lengths = [tokens(text) for text in texts]
        if fault is None and max(lengths) > settings.context_length:
            if asked.get("truncate", True) is False:
                fault = Fault("too_long", when="after")
            else:
                texts = [text[: settings.context_length * CHARACTERS_A_TOKEN] for text in texts]
                lengths = [min(length, settings.context_length) for length in lengths]
        if fault is not None and fault.name in IMMEDIATE | STATUSES.keys():
            send: Callable[[], None] = partial(self._fail, exchange, fault, model)
            if not fault.served_first:
                if fault.name != "hang":
                    self._ended(exchange)
                send()
                return
        else:
            send = self._answer(exchange, fault, asked, texts, sum(lengths))
        self._serve(
            exchange, settings.cost(len(texts), sum(lengths)) + self._load(model, asked), len(texts), send
        )

    def _serve(self, exchange: Exchange, work: float, texts: int, send: Callable[[], None]) -> None:
        """Send after so much work has been done."""

        def served() -> None:
            if exchange.open:
                self._ended(exchange)
                send()

        latency = self.settings.latency
        if work == 0 and latency == 0:
            served()
            return
        job = Job(work, exchange.arrived + latency, texts, served)
        timer = self._loop.call_later(latency, self.service.submit, job) if latency else None
        if timer is None:
            self.service.submit(job)

        def left() -> None:
            self._left()
            if not self.settings.ignore_disconnect:
                if timer is not None:
                    timer.cancel()
                self.service.cancel(job)

        exchange.gone = left

    def _answer(
        self, exchange: Exchange, fault: Fault | None, asked: dict[str, Any], texts: list[str], length: int
    ) -> Callable[[], None]:
        """Make the answer now, so that it can leave the moment its service ends."""
        weights, dimensions = self.settings.weights, asked.get("dimensions") or None
        if fault is not None and fault.name == "other_weights":
            weights = fault.weights
        digests = [text_digest(text) for text in texts]
        vectors = self._vectors.of(texts, digests, weights, dimensions)
        if fault is not None and fault.name in SPOIL:
            vectors = SPOIL[fault.name](vectors, fault)
        head = orjson.dumps({"model": asked["model"]})[:-1]
        tail = b'],"total_duration":%d,"load_duration":1000,"prompt_eval_count":%d}'
        tail %= (int(1e9 * (self._loop.time() - exchange.arrived)) + 1, length)
        body = b"".join((head, b',"embeddings":[', b",".join(vectors), tail))

        def send() -> None:
            self.answered += 1
            if fault is not None and fault.name in DELIVER:
                DELIVER[fault.name](exchange, fault, body)
                return
            if fault is None:
                self.texts_answered += len(texts)
                for digest in digests:
                    self.served[digest] = self.served.get(digest, 0) + 1
            exchange.reply(200, body)

        return send

    def _ended(self, exchange: Exchange) -> None:
        self.in_flight -= 1
        exchange.gone = None

    def _left(self) -> None:
        self.in_flight -= 1
        self.cancelled += 1

    # models

    def _present(self, asked: dict[str, Any]) -> str:
        model = asked.get("model") or asked.get("name")
        if not isinstance(model, str) or not model or model.strip("/:") != model:
            raise Refused(400, "invalid model name")
        if tagged(model) not in self._models:
            raise Refused(404, _no_model(model))
        return model

    def _load(self, model: str, asked: dict[str, Any]) -> float:
        """Seconds until the model is there with these options."""
        wanted = orjson.dumps([tagged(model), asked.get("options") or {}], option=orjson.OPT_SORT_KEYS)
        cold = wanted != self._loaded
        self._loaded = wanted if asked.get("keep_alive") != 0 else None
        self.loads += cold
        return self.settings.load_seconds if cold else 0.0

    def _digest(self, model: str) -> str:
        return self.settings.digest or hashlib.sha256(model.encode()).hexdigest()

    def _listed(self) -> list[str]:
        now = self._loop.time()
        missing = any(armed.fault.name == "missing_model" and armed.arm(now) for armed in self.faults)
        return [] if missing else sorted(self._models)

    def _row(self, model: str) -> dict[str, Any]:
        details = {"format": "gguf", "family": "bert", "parameter_size": "23M", "quantization_level": "F16"}
        return {
            "name": model,
            "model": model,
            "size": 45960996,
            "digest": self._digest(model),
            "details": details,
        }

    # the other calls

    def _other(self, exchange: Exchange, path: str) -> None:
        method = {"/api/show": "POST", "/api/pull": "POST"}.get(path, "GET")
        if path not in {"/", "/api/version", "/api/tags", "/api/ps", "/api/show", "/api/pull"}:
            exchange.reply(404, b"404 page not found", content_type=TEXT)
        elif exchange.method != method and (method, exchange.method) != ("GET", "HEAD"):
            exchange.reply(405, b"405 method not allowed", content_type=TEXT)
        elif path == "/":
            exchange.reply(200, b"Ollama is running", content_type=TEXT)
        elif path == "/api/version":
            exchange.reply_json({"version": self.settings.version})
        elif path == "/api/tags":
            rows = [{**self._row(model), "modified_at": EPOCH} for model in self._listed()]
            exchange.reply_json({"models": rows})
        elif path == "/api/ps":
            loaded = orjson.loads(self._loaded)[0] if self._loaded else None
            more = {
                "size_vram": 45960996,
                "expires_at": EPOCH,
                "context_length": self.settings.context_length,
            }
            exchange.reply_json({"models": [self._row(m) | more for m in self._listed() if m == loaded]})
        elif path == "/api/show":
            self._present(asked := _asked(exchange))
            exchange.reply_json(self._show(tagged(asked.get("model") or asked["name"])))
        else:
            self._pull(exchange, _asked(exchange))

    def _show(self, model: str) -> dict[str, Any]:
        info = {
            "general.architecture": "bert",
            "bert.embedding_length": self.settings.dimension,
            "bert.context_length": self.settings.context_length,
        }
        row = self._row(model)
        return {
            "capabilities": list(self.settings.capabilities),
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
        if self.settings.pull_error is not None:
            steps[3:] = [{"error": self.settings.pull_error}]
        else:
            steps += [{"status": word} for word in ("verifying sha256 digest", "writing manifest", "success")]
        pause = self.settings.pull_seconds / len(steps)
        if stream := asked.get("stream", True):
            exchange.write(head_of(200, None, "application/x-ndjson"))

        def step(number: int) -> None:
            if not exchange.open:
                return
            if stream:
                exchange.write_chunk(orjson.dumps(steps[number]) + b"\n")
            if number + 1 < len(steps):
                self._loop.call_later(pause, step, number + 1)
                return
            if self.settings.pull_error is None:
                self._models.add(tagged(model))
            if stream:
                exchange.write_chunk(b"")
                exchange.finish()
            else:
                exchange.reply_json(steps[-1], 500 if "error" in steps[-1] else 200)

        step(0)


def _no_model(model: str) -> str:
    return f'model "{model}" not found, try pulling it first'


def _asked(exchange: Exchange) -> dict[str, Any]:
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


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise Refused(400, "invalid input type")
    return value
