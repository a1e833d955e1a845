"""Requests as Ollama takes them: access, faults, and `/api/embed`, in the words and statuses of the real one."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from tests.nodes.chat import Chat
from tests.nodes.faults import IMMEDIATE, STATUSES, Armed, Fault
from tests.nodes.models import Models, no_model, refuse_method
from tests.nodes.other_calls import generate, old_embeddings, v1_embeddings
from tests.nodes.protocol import PLAIN, Exchange
from tests.nodes.requests import Refused, asked_of, texts_of
from tests.nodes.service import Job, Service
from tests.nodes.settings import Settings
from tests.nodes.tokens import cut_to, tokenizer_seconds, tokens_of
from tests.nodes.vectors import Serialised, text_digest
from tests.nodes.wrong import DELIVER, SPOIL

PAGE = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>"


class Api:
    """Answers requests; counts them."""

    def __init__(self, settings: Settings, on_request: Callable[[], None]) -> None:
        """`on_request` is called before each embed or chat request is counted."""
        self.settings = settings
        self.service = Service(settings.slots, settings.speed, settings.bursts)
        self.faults: list[Armed] = []
        self._on_request = on_request
        self._loop = asyncio.get_running_loop()
        self._models = Models(settings)
        self.chat = Chat(settings, self._models)
        self._vectors = Serialised(settings.dimension, settings.pool, settings.cosine)
        self.in_flight = 0
        self.reset()

    def change(self, settings: Settings) -> None:
        """Take other settings; requests that were already received keep the cost they had."""
        old, self.settings = self.settings, settings
        self._models.change(settings)
        self.chat.change(settings)
        shape = (settings.dimension, settings.pool, settings.cosine)
        if (old.dimension, old.pool, old.cosine) != shape:
            self._vectors = Serialised(*shape)

    def reset(self) -> None:
        """Begin to count from zero."""
        self.requests = self.texts = self.answered = self.texts_answered = 0
        self.cancelled = self.max_in_flight = self._models.loads = 0
        self.max_together = 0
        self.chat.reset()
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
            "max_together": self.max_together,
            **self.chat.counts(),
            "in_service": self.service.in_service,
            "max_in_service": self.service.max_in_service,
            "queued": self.service.queued,
            "loads": self._models.loads,
            "hits": sum(armed.hits for armed in self.faults),
            "calls": sum(self.paths.values()),
        }

    def handle(self, exchange: Exchange) -> None:
        """Answer one request, now or later."""
        settings = self.settings
        if _is_foreign(exchange):
            exchange.reply(403, content_type="")
            return
        for name, value in settings.headers.items():
            if exchange.headers.get(name.lower()) != value:
                self._fail(exchange, Fault("unauthorized" if settings.refuse_status == 401 else "forbidden"))
                return
        path = exchange.path
        if settings.prefix:
            if not path.startswith(settings.prefix):
                exchange.reply(404, b"404 page not found", content_type=PLAIN)
                return
            path = path.removeprefix(settings.prefix)
        self.paths[path] = self.paths.get(path, 0) + 1
        if refuse_method(exchange, path):
            return
        try:
            if path == "/api/embed":
                self._embed(exchange)
            elif path == "/api/chat":
                self._talk(exchange)
            elif (fault := self._struck(path, [])) is not None:
                model = asked_of(exchange).get("model", "") if path == "/api/show" else ""
                self._fail(exchange, fault, model)
            elif path == "/v1/embeddings":
                v1_embeddings(exchange, self._models, settings)
            elif path == "/api/embeddings":
                old_embeddings(exchange, self._models, settings)
            elif path == "/api/generate":
                generate(exchange, self._models)
            else:
                self._models.answer(exchange, path, hidden=self._models_hidden())
        except Refused as refused:
            exchange.error(refused.status, str(refused))

    def _struck(self, path: str, texts: list[str]) -> Fault | None:
        now = self._loop.time()
        for armed in self.faults:
            if armed.strikes(path, texts, now):
                return armed.fault
        return None

    def _models_hidden(self) -> bool:
        now = self._loop.time()
        return any(armed.fault.name == "missing_model" and armed.arm(now) for armed in self.faults)

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
                words = no_model(model)
            headers = [("Retry-After", fault.retry_after)] if fault.retry_after is not None else []
            if (words := fault.message or words) is None:
                exchange.reply(status, content_type="", headers=headers)
            else:
                exchange.error(status, words, headers)

    def _talk(self, exchange: Exchange) -> None:
        asked = asked_of(exchange, "ChatRequest")
        said = [str(each.get("content", "")) for each in asked.get("messages") or ()]
        self._on_request()  # may take the node down
        if exchange.connection.transport.is_closing():
            return
        fault = self._struck("/api/chat", said)
        for armed in self.faults:
            armed.seen += 1
        if fault is not None and fault.name in STATUSES.keys() | IMMEDIATE - {"close"}:
            self._fail(exchange, fault, asked.get("model", ""))
        else:
            self.chat.answer(exchange, asked, fault)
        self.max_together = max(self.max_together, self.in_flight + self.chat.in_flight)

    # /api/embed

    def _embed(self, exchange: Exchange) -> None:
        settings = self.settings
        asked = asked_of(exchange)
        texts = texts_of(asked.get("input"))
        model = self._models.present(asked)
        if not texts:
            self._models.load(model, asked)
            exchange.reply_json({"model": model, "embeddings": []})
            return
        if self._models.chats(model):
            self._models.load(model, asked)
            words = STATUSES["no_embedding"][1] if settings.new else "this model does not support embeddings"
            raise Refused(501, words or "")
        self._on_request()  # may take the node down
        fault = self._struck("/api/embed", texts)
        for armed in self.faults:
            armed.seen += 1
        self.requests += 1
        self.texts += len(texts)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.max_together = max(self.max_together, self.in_flight + self.chat.in_flight)
        exchange.gone = self._left
        if exchange.connection.transport.is_closing():
            return

        lengths = [tokens_of(text, settings) for text in texts]
        instead = fault is not None and fault.name in IMMEDIATE | STATUSES.keys()
        context, batch = _limits(asked, settings)
        # A node that gives wrong vectors still refuses what is too long for it.
        if not instead and max(lengths) > min(context, batch):
            if asked.get("truncate", True) is False:
                fault = Fault("too_long", when="after")
            else:
                texts = [cut_to(text, min(context, batch), settings) for text in texts]
                lengths = [min(length, context, batch) for length in lengths]
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
            exchange,
            settings.cost(len(texts), sum(lengths))
            + tokenizer_seconds(texts, settings)
            + self._models.load(model, asked),
            len(texts),
            send,
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
        weights, dimensions = self.settings.weights, max(0, asked.get("dimensions") or 0) or None
        if fault is not None and fault.name == "other_weights":
            weights = fault.weights
        digests = [text_digest(text) for text in texts]
        vectors = self._vectors.of(texts, digests, weights, dimensions, self.settings.tokenizer)
        if fault is not None and fault.name in SPOIL:
            vectors = SPOIL[fault.name](vectors, fault)
        head = orjson.dumps({"model": asked["model"]})[:-1]
        tail = b'],"total_duration":%d,"load_duration":1000' % (
            int(1e9 * (self._loop.time() - exchange.arrived)) + 1
        )
        tail += b',"prompt_eval_count":%d}' % length if self.settings.characters_a_token else b"}"
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


def _limits(asked: dict[str, Any], settings: Settings) -> tuple[int, int]:
    """Tokens of the context and of a batch; an old version looks at no batch."""
    options = asked.get("options") or {}
    context = min(int(options.get("num_ctx") or settings.context_length), settings.context_length)
    return context, int(options.get("num_batch") or context) if settings.new else context


def _is_foreign(exchange: Exchange) -> bool:
    """Whether Ollama on loopback refuses the page or the name that a request comes from."""
    host = exchange.headers.get("host", "")
    origin = exchange.headers.get("origin")
    return not _is_own(host) or (origin is not None and not _is_own(origin.partition("://")[2]))


def _is_own(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name.lower() in ("", "localhost", socket.gethostname().lower()):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_private
    except ValueError:
        return name.endswith((".localhost", ".local", ".internal"))
