"""Checks an answer against the JSON schema of its request. Nodes get the schema, but may ignore it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry

from prefect_ollama.blocks.errors import ConfigurationError

# Returns the value of an answer, or raises a ValueError that says why it does not fit and quotes nothing of the
# answer.
Check = Callable[[str], Any]

# Characters of an answer with a format at most: parsed JSON may take thirty times the memory of its text.
LONGEST_ANSWER: Final = 2**20


def check_of(schema: Mapping[str, Any] | None) -> Check:
    """Return a function that checks answers against a JSON schema (draft 2020-12); without a schema every answer fits.

    Raises:
        ConfigurationError: It is no JSON schema.
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
        if len(text) > LONGEST_ANSWER:
            raise ValueError(f"it has more than {LONGEST_ANSWER:,} characters")
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            why = f"it is no JSON ({error.msg.split(':')[0]})"
        else:
            if (wrong := best_match(validator.iter_errors(value))) is None:
                return value
            why = f"it does not fit the schema: {wrong.json_path[:200]} breaks {wrong.validator!r}"
        # Not within `except`, because the parser's error holds the whole answer and would stay as the context.
        raise ValueError(why)

    return check
