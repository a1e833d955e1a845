"""What a client asks of the node, read as Ollama reads it: same defaults, same refusals, same words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from prefect_ollama.blocks.embedded._model import DIMENSION
from prefect_ollama.blocks.embedded.tokens import CONTEXT

MODEL = "all-minilm"
NAMES = (MODEL, f"{MODEL}:latest")

# Texts of one request.
MOST_TEXTS = 10_000

# Lists and objects of a request. A parsed list takes some twenty times the two bytes that it is sent in.
_MOST_CONTAINERS = 1000

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\Z)', re.DOTALL)
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_VALID_NAME = re.compile(rf"({_PART}(:\d+)?/)?({_PART}/)?{_PART}(:{_PART})?")
_LONGEST_NAME = 350
# Ollama raises a smaller num_ctx to this; it leaves room for two tokens between [CLS] and [SEP].
_LEAST_CONTEXT = 4
_GO_TYPES = {str: "string", bool: "bool", int: "number", float: "number", dict: "object", list: "array"}
_WANTED = {str: "string", bool: "bool", int: "int", dict: "map[string]interface {}"}
# Go's time.ParseDuration (https://pkg.go.dev/time#ParseDuration).
_DURATION = re.compile(r"[-+]?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)")

T = TypeVar("T")


class Refused(Exception):
    """The request is answered with this HTTP status and Ollama's message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """A valid `POST /api/embed`.

    Attributes:
        model: The name, as the client wrote it.
        texts: What to embed; may be empty.
        truncate: Whether a text longer than the context is cut, or the request refused.
        dimension: Leading components wanted of each vector.
        context: Tokens of a text that are looked at, [CLS] and [SEP] included.
    """

    model: str
    texts: list[str]
    truncate: bool
    dimension: int
    context: int

    @classmethod
    def parse(cls, raw: bytes) -> EmbedRequest:
        """Read a request's body.

        Raises:
            Refused: It is not one that Ollama would serve with this model.
        """
        body = _parse_object(raw, "EmbedRequest")
        name = _field(body, "model", str, "")
        truncate = _field(body, "truncate", bool, True)
        dimension = _field(body, "dimensions", int, 0)
        context = _context(_field(body, "options", dict, {}))
        _check_keep_alive(body.get("keep_alive"))
        texts = _texts(body.get("input"))
        if not name:
            raise Refused(404, "model '' not found")
        if not _check_name(name):
            raise Refused(404, f'model "{name}" not found, try pulling it first')
        return cls(
            model=name,
            texts=texts,
            truncate=truncate,
            dimension=min(dimension, DIMENSION) if dimension > 0 else DIMENSION,
            context=context,
        )


def parse_show(raw: bytes) -> None:
    """Read the body of a `POST /api/show`, which asks for the one model there is.

    Raises:
        Refused: It does not.
    """
    body = _parse_object(raw, "ShowRequest")
    name = _field(body, "model", str, "") or _field(body, "name", str, "")
    if not _check_name(name):
        full = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        raise Refused(404, f"model '{full}' not found")


def _parse_object(raw: bytes, go_type: str) -> dict[str, Any]:
    if not raw.strip():
        raise Refused(400, "missing request body")
    if _containers(raw) > _MOST_CONTAINERS and _containers(_STRING.sub(b"", raw)) > _MOST_CONTAINERS:
        raise Refused(400, "invalid input type")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        at = error.doc[error.pos : error.pos + 1]
        raise Refused(400, f"invalid character {at!r} in JSON" if at else "unexpected EOF") from None
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise Refused(
            400, f"json: cannot unmarshal {_GO_TYPES[type(body)]} into Go value of type api.{go_type}"
        )
    return body


def _containers(raw: bytes) -> int:
    return raw.count(b"[") + raw.count(b"{")


def _field(body: dict[str, Any], name: str, kind: type[T], default: T) -> T:
    value = body.get(name)
    if value is None:
        return default
    # A bool is an int to Python, and none to Go.
    if type(value) is not kind:
        given, wanted = _GO_TYPES[type(value)], _WANTED[kind]
        raise Refused(
            400, f"json: cannot unmarshal {given} into Go struct field EmbedRequest.{name} of type {wanted}"
        )
    return value


def _context(options: dict[str, Any]) -> int:
    asked = options.get("num_ctx")
    if asked is None:
        return CONTEXT
    if type(asked) not in (int, float):
        raise Refused(500, 'option "num_ctx" must be of type integer')
    return int(min(max(asked, _LEAST_CONTEXT), CONTEXT))


def _texts(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(400, "invalid input type")
    if len(texts) > MOST_TEXTS:
        raise Refused(413, f"a request may have {MOST_TEXTS} texts")
    return texts


def _check_keep_alive(value: Any) -> None:
    """Refuse what Ollama takes for no duration; the model stays loaded whatever it says."""
    if isinstance(value, str):
        if not _DURATION.fullmatch(value):
            problem = "missing unit in" if _NUMBER.fullmatch(value) else "invalid"
            raise Refused(400, f'time: {problem} duration "{value[:100]}"')
    elif type(value) not in (int, float, type(None)):
        raise Refused(400, f"Unsupported type: {type(value).__name__!r}")


def _check_name(name: str) -> bool:
    """Whether a name stands for the one model.

    Raises:
        Refused: It is no name of a model.
    """
    if len(name) > _LONGEST_NAME or not _VALID_NAME.fullmatch(name):
        raise Refused(400, "invalid model name")
    # As for Ollama, a name's case does not matter, nor do the registry and the namespace that are its defaults.
    return name.lower().removeprefix("registry.ollama.ai/").removeprefix("library/") in NAMES
