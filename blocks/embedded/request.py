"""What a client asks of the node, read as Ollama reads it: same defaults, same refusals, same words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from prefect_ollama.blocks.embedded.model import DIMENSION
from prefect_ollama.blocks.embedded.tokens import CONTEXT

MODEL = "all-minilm"
NAMES = (MODEL, f"{MODEL}:latest")

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_VALID_NAME = re.compile(rf"({_PART}(:\d+)?/)?({_PART}/)?{_PART}(:{_PART})?")
# Ollama raises a smaller num_ctx to this; it leaves room for two tokens between [CLS] and [SEP].
_LEAST_CONTEXT = 4
_GO_TYPES = {str: "string", bool: "bool", int: "int", float: "number", dict: "object", list: "array"}

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
        body = _parse_object(raw)
        name = _field(body, "model", str, "")
        truncate = _field(body, "truncate", bool, True)
        dimension = _field(body, "dimensions", int, 0)
        context = _context(_field(body, "options", dict, {}))
        texts = _texts(body.get("input"))
        _check_name(name)
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
    body = _parse_object(raw)
    _check_name(_field(body, "model", str, "") or _field(body, "name", str, ""))


def _parse_object(raw: bytes) -> dict[str, Any]:
    if not raw.strip():
        raise Refused(400, "missing request body")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        at = error.doc[error.pos : error.pos + 1]
        raise Refused(400, f"invalid character {at!r} in JSON" if at else "unexpected EOF") from None
    if not isinstance(body, dict):
        raise Refused(400, f"json: cannot unmarshal {_GO_TYPES.get(type(body), 'null')} into an object")
    return body


def _field(body: dict[str, Any], name: str, kind: type[T], default: T) -> T:
    value = body.get(name)
    if value is None:
        return default
    # A bool is an int to Python, and none to Go.
    if type(value) is not kind:
        given, wanted = (_GO_TYPES.get(each, each.__name__) for each in (type(value), kind))
        raise Refused(400, f"json: cannot unmarshal {given} into Go struct field {name} of type {wanted}")
    return value


def _context(options: dict[str, Any]) -> int:
    asked = options.get("num_ctx")
    if asked is None:
        return CONTEXT
    if type(asked) not in (int, float):
        raise Refused(400, 'option "num_ctx" must be of type integer')
    return int(min(max(asked, _LEAST_CONTEXT), CONTEXT))


def _texts(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(400, "invalid input type")
    return texts


def _check_name(name: str) -> None:
    if not _VALID_NAME.fullmatch(name):
        raise Refused(400, "invalid model name")
    if name not in NAMES:
        raise Refused(404, f'model "{name}" not found, try pulling it first')
