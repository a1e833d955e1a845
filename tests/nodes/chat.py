"""`/api/chat` of a simulated node, as the recorded servers speak it: a token a line, an end with counts, failures.

Its time: the prompt's tokens at `prompt_tokens_per_second`, then one token after the other at
`answer_tokens_per_second`, in one of `chat_slots` slots, first come, first served. A chat model has a runner of its
own, so its slots are not those of the embedding model.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from tests.nodes.faults import Fault
from tests.nodes.models import EPOCH, Models
from tests.nodes.protocol import NDJSON, Exchange, head_of
from tests.nodes.reader import Reader, Said
from tests.nodes.requests import Refused
from tests.nodes.service import Job, Service
from tests.nodes.settings import Settings

CHARACTERS_A_PIECE = 4
WORDS_OF_AN_ANSWER = 12
BROKEN = frozenset({"error_line", "malformed_line", "stall", "reset", "short_body", "close"})
"""Faults that break an answer off."""

NOT_JSON = '{"sentences": [{"text": "It is'


class Chat:
    """Answers chat requests; counts them."""

    def __init__(self, settings: Settings, models: Models) -> None:
        self._settings = settings
        self._models = models
        self.service = Service(settings.chat_slots, settings.speed, settings.bursts)
        self._loop = asyncio.get_running_loop()
        self.in_flight = 0
        self.reset()

    def change(self, settings: Settings) -> None:
        """Take other settings."""
        self._settings = settings

    def reset(self) -> None:
        """Begin to count from zero."""
        self.requests = self.answered = self.cancelled = self.tokens = self.max_in_flight = 0
        self.asked: list[str] = []
        self.options: list[dict[str, Any]] = []
        self.read: list[dict[str, Any]] = []
        self.service.busy.clear()
        self.service.max_in_service = 0

    def counts(self) -> dict[str, float]:
        """The numbers."""
        return {
            "chat_requests": self.requests,
            "chat_answered": self.answered,
            "chat_cancelled": self.cancelled,
            "chat_in_flight": self.in_flight,
            "max_chat_in_flight": self.max_in_flight,
            "max_chat_in_service": self.service.max_in_service,
            "chat_tokens": self.tokens,
        }

    def answer(self, exchange: Exchange, asked: dict[str, Any], fault: Fault | None) -> None:
        """Answer a request, now or later.

        Raises:
            Refused: when Ollama would.
        """
        settings = self._settings
        model = self._models.present(asked)
        if not self._models.chats(model):
            raise Refused(400, f'"{model}" does not support chat')
        if asked.get("think") and "thinking" not in settings.chat_capabilities:
            raise Refused(400, f'"{model}" does not support thinking')
        messages = [str(each.get("content", "")) for each in asked.get("messages") or ()]
        options = asked.get("options") or {}
        prompt_tokens = sum(_pieces_in(text) for text in messages)
        context = min(int(options.get("num_ctx") or settings.chat_context), settings.chat_context)
        if prompt_tokens > context and asked.get("truncate") is False:
            raise Refused(400, "the input length exceeds the context length")
        self.requests += 1
        self.options.append(options)
        self.asked.append(messages[-1] if messages else "")
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        exchange.gone = self._left
        load = self._models.load(model, {**asked, "options": {"num_ctx": options.get("num_ctx")}})
        thinking, text = _scripted(settings, messages, asked.get("format"))
        said = _read(settings, messages, int(options.get("seed") or 0))
        if said is not None:
            text = said.text
            self.read += [said.note] if said.note else []
        if fault is not None and fault.name == "bad_json":
            text = NOT_JSON
        pieces = [("thinking", piece) for piece in _pieces(thinking)] if asked.get("think") else []
        pieces += [("content", piece) for piece in _pieces(text)]
        most = 0 if settings.ignore_num_predict else int(options.get("num_predict") or 0)
        if fault is not None and fault.name == "length":
            most = fault.after_tokens
        if said is not None and said.cut:
            most = int(0.6 * len(pieces))
        cut = 0 < most < len(pieces)
        answer = _Answer(
            {"model": model, "created_at": EPOCH},
            pieces[:most] if cut else pieces,
            "length" if cut else "stop",
            prompt_tokens,
            bool(asked.get("stream", True)),
            fault,
        )
        self._serve(exchange, answer, load)

    def _serve(self, exchange: Exchange, answer: _Answer, load: float) -> None:
        settings = self._settings
        prompt, each = settings.chat_seconds(answer.prompt_tokens)
        before = settings.request_overhead + load + prompt
        timers: list[asyncio.TimerHandle] = []
        job = Job(before + each * len(answer.pieces), self._loop.time(), 1, lambda: None)

        def left() -> None:
            self._left()
            for timer in timers:
                timer.cancel()
            if not settings.ignore_disconnect:
                self.service.cancel(job)

        def begun() -> None:
            speed = self.service.speed
            for number in range(len(answer.pieces)):
                due = job.begun + (before + each * (number + 1)) / speed
                timers.append(self._loop.call_at(due, self._pieces_until, exchange, answer, number + 1))

        def done() -> None:
            if exchange.open:
                self._end(exchange, answer)

        job.done, job.started = done, begun
        exchange.gone = left
        if job.work == 0:
            done()
            return
        self.service.submit(job)

    def _pieces_until(self, exchange: Exchange, answer: _Answer, end: int) -> None:
        """Send the pieces that are due: two timers of one moment may come in either order."""
        while answer.sent < end and exchange.open and not answer.broken:
            self._piece(exchange, answer, answer.sent)
            answer.sent += 1

    def _piece(self, exchange: Exchange, answer: _Answer, number: int) -> None:
        if answer.fault is not None and answer.strikes_at(number):
            answer.broken = True
            self._break(exchange, answer, answer.fault)
            return
        self.tokens += 1
        if answer.stream:
            answer.send(exchange, answer.line(number))

    def _break(self, exchange: Exchange, answer: _Answer, fault: Fault) -> None:
        """Let a fault strike in mid-stream."""
        if fault.name == "stall":
            return
        if fault.name == "error_line":
            answer.send(
                exchange, {"error": fault.message or "an error was encountered while running the model"}
            )
            exchange.write_chunk(b"")
        elif fault.name == "malformed_line":
            answer.send(exchange, b'{"model":"' + b"x" * 20 + b"\n")
            exchange.write_chunk(b"")
        elif fault.name == "short_body":
            exchange.write_chunk(b"")  # an orderly end, but without the last line
        self._ended(exchange)
        if fault.name == "reset":
            exchange.reset()
        elif fault.name == "close":
            exchange.close()
        else:
            exchange.finish()

    def _end(self, exchange: Exchange, answer: _Answer) -> None:
        self._pieces_until(exchange, answer, len(answer.pieces))
        if answer.broken:
            return
        self.answered += 1
        self._ended(exchange)
        if answer.stream:
            answer.send(exchange, answer.last({"role": "assistant", "content": ""}))
            exchange.write_chunk(b"")
            exchange.finish()
            return
        message = {"role": "assistant", "content": answer.text("content")}
        if thinking := answer.text("thinking"):
            message["thinking"] = thinking
        exchange.reply_json(answer.last(message))

    def _ended(self, exchange: Exchange) -> None:
        self.in_flight -= 1
        exchange.gone = None

    def _left(self) -> None:
        self.in_flight -= 1
        self.cancelled += 1


class _Answer:
    """One answer on its way."""

    def __init__(
        self,
        head: dict[str, Any],
        pieces: list[tuple[str, str]],
        reason: str,
        prompt_tokens: int,
        stream: bool,
        fault: Fault | None,
    ) -> None:
        self.head = head
        self.pieces = pieces
        self.reason = reason
        self.prompt_tokens = prompt_tokens
        self.stream = stream
        self.fault = fault
        self.broken = False
        self.sent = 0
        self._opened = False

    def strikes_at(self, number: int) -> bool:
        """Whether the fault strikes in place of this piece."""
        assert self.fault is not None
        if self.fault.name not in BROKEN:
            return False
        return number == min(self.fault.after_tokens, len(self.pieces) - 1)

    def line(self, number: int) -> dict[str, Any]:
        """The line of a piece."""
        kind, piece = self.pieces[number]
        message = {"role": "assistant", "content": ""} | {kind: piece}
        return self.head | {"message": message, "done": False}

    def last(self, message: dict[str, Any]) -> dict[str, Any]:
        """The last line, or the whole answer of a request that is no stream."""
        times = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
        counts = {"prompt_eval_count": self.prompt_tokens, "eval_count": len(self.pieces)}
        end = {"message": message, "done": True, "done_reason": self.reason}
        return self.head | end | counts | dict.fromkeys(times, 1)

    def text(self, kind: str) -> str:
        """All that was said of one kind."""
        return "".join(piece for each, piece in self.pieces if each == kind)

    def send(self, exchange: Exchange, line: dict[str, Any] | bytes) -> None:
        """Put a line on the wire, and the head before the first one."""
        if not self._opened:
            self._opened = True
            exchange.write(head_of(200, None, NDJSON))
        exchange.write_chunk(line if isinstance(line, bytes) else orjson.dumps(line) + b"\n")


def _pieces(text: str) -> list[str]:
    return [text[at : at + CHARACTERS_A_PIECE] for at in range(0, len(text), CHARACTERS_A_PIECE)]


def _pieces_in(text: str) -> int:
    return max(1, -(-len(text) // CHARACTERS_A_PIECE))


def _scripted(settings: Settings, messages: list[str], schema: Any) -> tuple[str, str]:
    """What the node thinks and says: the first script whose `match` is in the messages, else something that fits."""
    said = "\n".join(messages)
    for script in settings.chat_script:
        if script.get("match", "") in said:
            content = script.get("content", "")
            return script.get("thinking", ""), content if isinstance(content, str) else orjson.dumps(
                content
            ).decode()
    thinking = "Let me see."
    if isinstance(schema, Mapping):
        return thinking, orjson.dumps(fitting(schema, schema, said)).decode()
    return thinking, " ".join((messages[-1] if messages else "").split()[:WORDS_OF_AN_ANSWER]) or "Yes."


def _read(settings: Settings, messages: list[str], number: int) -> Said | None:
    """What the node says as a reader; None where it is none, or the prompt is none of ours."""
    if settings.chat_reader is None or not messages:
        return None
    return Reader(**settings.chat_reader, seed=settings.seed).read(messages[-1], number)


def fitting(schema: Mapping[str, Any], root: Mapping[str, Any], seed: str) -> Any:
    """A value that fits a JSON schema; `seed` decides where there is a choice."""
    if "$ref" in schema:
        found: Any = root
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return fitting(found, root, seed)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][_dice(seed) % len(schema["enum"])]
    for name in ("anyOf", "oneOf", "allOf"):
        if name in schema:
            return fitting(schema[name][0], root, seed)
    makers: dict[str, Callable[[], Any]] = {
        "object": lambda: {
            name: fitting(each, root, seed) for name, each in schema.get("properties", {}).items()
        },
        "array": lambda: [fitting(schema.get("items", {}), root, seed)] * max(1, schema.get("minItems", 1)),
        "string": lambda: " ".join(seed.split()[:WORDS_OF_AN_ANSWER]),
        "integer": lambda: max(schema.get("minimum", 0), 1),
        "number": lambda: max(schema.get("minimum", 0.0), 0.5),
        "boolean": lambda: _dice(seed) % 2 == 0,
        "null": lambda: None,
    }
    return makers[schema.get("type", "string")]()


def _dice(seed: str) -> int:
    return hashlib.blake2b(seed.encode("utf-8", "surrogatepass")).digest()[0]
