"""What a request asks for, read as Ollama reads it: the same defaults, the same refusals, Go's own words."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from tests.nodes.protocol import Exchange

SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
UNIT = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
PART = r"[a-z0-9_][a-z0-9_.-]*"
NAME = re.compile(rf"({PART}(:\d+)?/)?({PART}/)?{PART}(:{PART})?", re.IGNORECASE)
GO_TYPES = {str: "string", bool: "bool", int: "number", float: "number", dict: "object", list: "array"}
FIELDS: dict[str, tuple[type, str]] = {
    "model": (str, "string"),
    "truncate": (bool, "bool"),
    "dimensions": (int, "int"),
    "options": (dict, "map[string]interface {}"),
}
WHOLE_OPTIONS = ("num_ctx", "num_batch", "num_gpu", "num_thread")
FOR_EVER = 2**63 - 1


class Refused(Exception):
    """A request is answered with an error of Ollama's."""

    def __init__(self, status: int, message: str) -> None:
        """Status and Ollama's words."""
        super().__init__(message)
        self.status = status


def asked_of(exchange: Exchange, go_type: str = "EmbedRequest") -> dict[str, Any]:
    """The JSON object that a request brings.

    Raises:
        Refused: when it brings none, or a member of another type.
    """
    if not exchange.body:
        raise Refused(400, "missing request body")
    asked = _parsed(exchange.body)
    if not isinstance(asked, dict):
        raise Refused(
            400, f"json: cannot unmarshal {GO_TYPES[type(asked)]} into Go value of type api.{go_type}"
        )
    for name, (kind, wanted) in FIELDS.items():
        value = asked.get(name)
        if value is not None and type(value) is not kind:
            given = GO_TYPES[type(value)]
            raise Refused(
                400, f"json: cannot unmarshal {given} into Go struct field {go_type}.{name} of type {wanted}"
            )
    for name in WHOLE_OPTIONS:
        if type((asked.get("options") or {}).get(name, 0)) not in (int, float):
            raise Refused(500, f'option "{name}" must be of type integer')
    keep_alive(asked)
    return asked


def keep_alive(asked: dict[str, Any]) -> float:
    """Seconds that the model stays loaded, infinite for ever.

    Raises:
        Refused: when it is no duration.
    """
    value = asked.get("keep_alive")
    if value is None:
        return 300.0
    if type(value) in (int, float):
        return float("inf") if value < 0 else float(value)
    if not isinstance(value, str):
        raise Refused(400, f"Unsupported type: {type(value).__name__!r}")
    sign, rest = (value[0], value[1:]) if value[:1] in ("-", "+") else ("", value)
    if rest == "0":
        return 0.0
    units = UNIT.findall(rest)
    if not units or "".join(number + unit for number, unit in units) != rest:
        problem = "missing unit in" if re.fullmatch(r"\d+\.?\d*|\.\d+", rest) else "invalid"
        raise Refused(400, f'time: {problem} duration "{value}"')
    seconds = sum(float(number) * SECONDS[unit] for number, unit in units)
    return float("inf") if sign == "-" else seconds


def texts_of(value: Any) -> list[str]:
    """The texts of `input`.

    Raises:
        Refused: when it holds something else.
    """
    if isinstance(value, str):
        return [value] if value else []
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise Refused(400, "invalid input type")
    return value


def canonical(model: str) -> str:
    """The one form of a model's name: no case, no default registry or namespace, with its tag.

    Raises:
        Refused: when it is no name.
    """
    if not NAME.fullmatch(model):
        raise Refused(400, "invalid model name")
    name = model.lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    # Go takes bad UTF-8 and lone surrogates, and puts U+FFFD in their place.
    text = body.decode("utf-8", "replace")
    try:
        return _without_surrogates(json.loads(text))
    except json.JSONDecodeError as error:
        raise Refused(400, _go_words(text, error.pos)) from None


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return (
            value.encode("utf-8", "replace").decode()
            if value.isascii()
            else re.sub("[\ud800-\udfff]", "\ufffd", value)
        )
    if isinstance(value, list):
        return [_without_surrogates(each) for each in value]
    if isinstance(value, dict):
        return {name: _without_surrogates(each) for name, each in value.items()}
    return value


def _go_words(text: str, at: int) -> str:
    rest = text[at:]
    for literal in ("null", "true", "false"):
        if rest[:1] == literal[0]:
            agree = next(
                (i for i, (a, b) in enumerate(zip(rest, literal, strict=False)) if a != b), len(rest)
            )
            if agree < len(rest):
                return (
                    f"invalid character {rest[agree]!r} in literal {literal} (expecting {literal[agree]!r})"
                )
    if not rest.strip() or rest[0] == '"':
        return "unexpected EOF"
    return f"invalid character {rest[0]!r} looking for beginning of value"
