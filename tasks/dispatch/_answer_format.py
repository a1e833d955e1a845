"""Does an answer fit the JSON schema that was sent with its request? Nodes are asked for it, and not believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry

from prefect_ollama.blocks.errors import ConfigurationError

# Returns the value of an answer. Raises: ValueError: It does not fit. The text says why, and quotes nothing of
# the answer.
Check = Callable[[str], Any]

# Characters of an answer with a format: parsed JSON may take thirty times the memory of its text.
LONGEST_ANSWER: Final = 2**20


def check_of(schema: Mapping[str, Any] | None) -> Check:
    """Return what checks answers against a JSON schema (draft 2020-12); without one every answer fits.

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
    # An empty registry: a schema must not make us fetch anything.
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
        # Not within `except`: the parser's error holds the whole text.
        raise ValueError(why)

    return check
