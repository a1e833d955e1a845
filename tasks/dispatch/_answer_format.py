"""Checks an answer against the JSON schema of its request. Nodes get the schema, but may ignore it."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import orjson
import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry

from prefect_ollama.blocks.errors import ConfigurationError

# Returns the value of an answer, or raises a ValueError that says why it does not fit and quotes nothing of the
# answer.
Check = Callable[[str], Any]

# Characters of an answer with a format at most: parsed JSON may take thirty times the memory of its text.
MAX_ANSWER_CHARACTERS: Final = 2**20

# Braces of an answer with text around it at which JSON is looked for: a brace without an end costs the whole rest.
_MAX_BRACES: Final = 64

# Thoughts of a model in its answer, if its node does not separate them.
_THOUGHTS: Final = regex.compile(r"\A\s*<(think|thinking|thought)>.*?</\1>", regex.DOTALL)
# The end of thoughts without a beginning, which the template of some models writes itself, and of those of gpt-oss.
_THOUGHTS_END: Final = regex.compile(
    r"</(?:think|thinking|thought)>|<\|channel\|>final\b[^{}]{0,40}?<\|message\|>"
)
_UNENDED_THOUGHTS: Final = regex.compile(r"\A\s*<(?:(?:think|thinking|thought)>|\|channel\|>analysis\b)")
_NUMBER: Final = regex.compile(r"\D{0,16}(\d{1,9})\D{0,2}")

# The characters before an item of a list.
_BEFORE: Final = regex.compile(r"[\s,]*(?=[{\[\"])")
_JSON: Final = json.JSONDecoder()


def check_of(schema: Mapping[str, Any] | None) -> Check:
    """Return a function that checks answers against a JSON schema (draft 2020-12); without a schema every answer fits.

    Raises:
        ConfigurationError: The schema is not a valid JSON schema.
    """
    if schema is None:
        return lambda text: None
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ConfigurationError(
            f"The format of a chat request is no JSON schema ({error.message[:200]}).",
            state="Nothing was sent.",
            remedy="Correct the schema.",
        ) from error
    # An empty registry, because a `$ref` to a URL would otherwise be fetched.
    validator = Draft202012Validator(schema, registry=Registry())

    def check(text: str) -> Any:
        if len(text) > MAX_ANSWER_CHARACTERS:
            raise ValueError(f"it has more than {MAX_ANSWER_CHARACTERS:,} characters")
        try:
            value = _fitted(orjson.loads(text), schema)
        except orjson.JSONDecodeError as error:
            why = f"it is no JSON ({error.msg.split(':')[0]})"
            fitting = [each for each in _values_within(text, schema) if validator.is_valid(each)]
            if fitting and all(each == fitting[0] for each in fitting):
                return fitting[0]
            # A model that corrects itself writes several lists, and code cannot know which of them is the right one.
            if fitting:
                why = "it has several different JSON values"
        else:
            if (wrong := best_match(validator.iter_errors(value))) is None:
                return value
            why = f"it does not fit the schema: {wrong.json_path[:200]} breaks {wrong.validator!r}"
        # Not within `except`, because the parser's error holds the whole answer and would stay as the context.
        raise ValueError(why)

    return check


def whole_items(text: str, name: str) -> list[Any]:
    """Return the complete items of a list with this name, from the beginning of a JSON object that was cut.

    Numbers do not count as complete, because more digits might follow. No item is found where the text has several such
    lists, because which of them is meant is not ours to guess.
    """
    lists = list(regex.finditer(rf'"{regex.escape(name)}"\s*:\s*\[', text))
    items: list[Any] = []
    at = lists[0].end() if len(lists) == 1 else 0
    while at and (before := _BEFORE.match(text, at)) is not None:
        try:
            item, at = _JSON.raw_decode(text, before.end())
        # The text is not complete yet, or is not JSON. A model may also write too many brackets.
        except (json.JSONDecodeError, RecursionError):
            break
        items.append(item)
    return items


def whole_part(text: str, schema: Mapping[str, Any] | None, check: Check) -> Any:
    """Return the whole items of an answer that was cut, as a value that fits its schema; None if there are none.

    Args:
        schema: JSON schema of the answer. Only objects of a single list have parts that make sense alone.
        check: The check of this schema.
    """
    properties = (schema or {}).get("properties", {})
    if len(text) > MAX_ANSWER_CHARACTERS or len(properties) != 1:
        return None
    ((name, inner),) = properties.items()
    answer = text[_objects(text)[1] :]
    if inner.get("type") != "array" or _UNENDED_THOUGHTS.match(answer):
        return None
    items = whole_items(answer, name)
    try:
        return check(json.dumps({name: items})) if items else None
    except ValueError:
        return None


def _values_within(text: str, schema: Mapping[str, Any]) -> list[Any]:
    """Return the JSON values of an answer with other text around them, such as a fence of Markdown or thoughts.

    Servers with an older or another engine ignore the schema, and for some models Ollama does, too.
    """
    objects, behind = _objects(text)
    answer = text[behind:].strip()
    found = [_fitted(value, schema) for at, value in objects if at >= behind or not answer]
    # The whole may also be a list.
    with suppress(orjson.JSONDecodeError):
        whole = orjson.loads(answer.removeprefix("```").removeprefix("json").removesuffix("```"))
        found.append(_fitted(whole, schema))
    return found


def _objects(text: str) -> tuple[list[tuple[int, Any]], int]:
    """Return the JSON objects of a text with their positions, and the position at which its thoughts end."""
    found: list[tuple[int, Any]] = []
    behind = at = thoughts.end() if (thoughts := _THOUGHTS.match(text)) else 0
    for _ in range(_MAX_BRACES):
        start = text.find("{", at)
        # Outside of JSON only: a quote may hold such a mark, too.
        for mark in _THOUGHTS_END.finditer(text, at, start if start >= 0 else len(text)):
            behind = mark.end()
        if start < 0:
            break
        try:
            end = _JSON.raw_decode(text, start)[1]
            # orjson refuses what Python's parser takes: half surrogates and NaN.
            found.append((start, orjson.loads(text[start:end])))
            at = end
        except (ValueError, RecursionError):
            at = start + 1
    return found, behind


def _fitted(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return a value as a node that keeps to the schema would have given it, where that is clear.

    It has no properties that its schema does not know, no longer texts, and numbers where it had "2" or "[2]".
    """
    match value, schema.get("type"):
        case dict(), "object":
            known = schema.get("properties", {})
            drop = schema.get("additionalProperties", True) is False
            return {
                name: _fitted(each, known[name]) if name in known else each
                for name, each in value.items()
                if name in known or not drop
            }
        case list(), "object" if [each.get("type") for each in schema.get("properties", {}).values()] == [
            "array"
        ]:
            # Without a grammar, models leave out the object around its only list.
            return _fitted(dict.fromkeys(schema["properties"], value), schema)
        case list(), "array":
            return [_fitted(each, schema.get("items", {})) for each in value]
        case str(), "integer" if (number := _NUMBER.fullmatch(value)) is not None:
            return int(number[1])
        case str(), "string":
            return value[: schema.get("maxLength")]
    return value
