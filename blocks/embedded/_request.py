"""Requests to the node, read as Ollama reads them: with its defaults, refusals and messages."""

import re
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import orjson

from prefect_ollama.blocks.embedded._model import DIMENSION
from prefect_ollama.blocks.embedded.tokens import CONTEXT

# Names under which clients can request the model; the same as in Ollama's library.
MODEL = "all-minilm"
NAMES = (MODEL, f"{MODEL}:latest")

# Texts of one request. A node's block allows 8,192 at most.
MAX_TEXTS = 10_000

# Lists and objects of a request. A parsed list takes some twenty times the memory of its two bytes in JSON.
_MAX_CONTAINERS = 1000

# A JSON string, perhaps without its end, which may be a lone backslash. Possessive quantifiers, and a match from each
# first quote, because a client may send any number of quotes.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?+)*+(?:"|\Z)', re.DOTALL)
# Ollama's rules for names of models: host with port, namespace, name, tag (types/model/name.go).
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_VALID_NAME = re.compile(rf"({_PART}(:\d+)?/)?({_PART}/)?{_PART}(:{_PART})?")
# Ollama limits a host to 350 characters, and each other part of a name to 80.
_MAX_HOST_CHARACTERS = 350
# Ollama raises a smaller num_ctx to this, which is two tokens between [CLS] and [SEP].
_MIN_CONTEXT_TOKENS = 4
# Names of types in messages of Go's JSON decoder, for values of JSON and for fields of a request.
_GO_TYPES = {str: "string", bool: "bool", int: "number", float: "number", dict: "object", list: "array"}
_WANTED = {str: "string", bool: "bool", int: "int", dict: "map[string]interface {}"}
# Go's time.ParseDuration (https://pkg.go.dev/time#ParseDuration).
_DURATION = re.compile(r"[-+]?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)")

T = TypeVar("T")


class Refused(Exception):
    """The answer is this HTTP status, with Ollama's message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """A valid `POST /api/embed`.

    Attributes:
        model: Name of the model, as the client wrote it.
        texts: The texts, perhaps none.
        truncate: Whether a text that is longer than the context is cut; otherwise the request is refused.
        dimension: Length to which vectors are cut.
        context: Tokens of a text that are read, with [CLS] and [SEP].
    """

    model: str
    texts: list[str]
    truncate: bool
    dimension: int
    context: int

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read the body of a request. What Ollama with this model would refuse, is `Refused`."""
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
    """Read the body of a `POST /api/show`, which is `Refused` if it does not name the model."""
    body = _parse_object(raw, "ShowRequest")
    name = _field(body, "model", str, "") or _field(body, "name", str, "")
    if not _check_name(name):
        full = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        raise Refused(404, f"model '{full}' not found")


def _parse_object(raw: bytes, go_type: str) -> dict[str, Any]:
    if not raw.strip():
        raise Refused(400, "missing request body")
    if _containers(raw) > _MAX_CONTAINERS and _containers(_STRING.sub(b"", raw)) > _MAX_CONTAINERS:
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
    # In Python a bool is an int, in Go it is not.
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
    return int(min(max(asked, _MIN_CONTEXT_TOKENS), CONTEXT))


def _texts(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(400, "invalid input type")
    if len(texts) > MAX_TEXTS:
        raise Refused(413, f"a request may have {MAX_TEXTS} texts")
    return texts


def _check_keep_alive(value: Any) -> None:
    """Refuse a value that Ollama does not accept as a duration. A valid one has no effect: the model stays loaded."""
    if isinstance(value, str):
        if not _DURATION.fullmatch(value):
            problem = "missing unit in" if _NUMBER.fullmatch(value) else "invalid"
            raise Refused(400, f'time: {problem} duration "{value[:100]}"')
    elif type(value) not in (int, float, type(None)):
        raise Refused(400, f"Unsupported type: {type(value).__name__!r}")


def _check_name(name: str) -> bool:
    """Return whether a name is that of the model. A name that no model can have is `Refused`."""
    if len(name) > _MAX_HOST_CHARACTERS or not _VALID_NAME.fullmatch(name):
        raise Refused(400, "invalid model name")
    # Ollama ignores case, and adds its registry and namespace by default.
    return name.lower().removeprefix("registry.ollama.ai/").removeprefix("library/") in NAMES
