"""Options that are declared once, with all that forms, commands and checks show of them."""

from __future__ import annotations

from dataclasses import field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from prefect_ollama.blocks.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


def option(default: T, title: str, description: str, **bounds: float) -> T:
    """Return a field of a dataclass of options.

    A form or a command inherits from the dataclass. Pydantic reads title, description and bounds from the metadata of
    its fields, and Cyclopts reads their help.

    Args:
        default: Its default.
        title: Its title in a form.
        description: Its help, in a form and on the command line.
        bounds: `gt`, `ge` and `le`, as for pydantic's `Field`.
    """
    shown = {"title": title, "description": description, "help": description}
    made: T = field(default=default, metadata=shown | bounds)
    return made


def check_bounds(options: DataclassInstance, *, state: str = "") -> None:
    """Check that all numbers are within their bounds.

    Args:
        options: The options.
        state: State after the error.

    Raises:
        ConfigurationError: One is not.
    """
    for each in fields(options):
        value, shown = getattr(options, each.name), each.metadata
        above, least, most = shown.get("gt"), shown.get("ge"), shown.get("le")
        # Written so that NaN, which is below and above nothing, is refused.
        if (
            (above is None or value > above)
            and (least is None or value >= least)
            and (most is None or value <= most)
        ):
            continue
        needed = f"above {above:,}" if above is not None else f"at least {least:,}"
        if most is not None:
            needed = f"{needed} and at most {most:,}" if least is None else f"between {least:,} and {most:,}"
        raise ConfigurationError(
            f"{type(options).__name__}.{each.name} is {value:,}, and must be {needed}.",
            state=state,
            remedy="Give such a number, or leave the default.",
        )


def values_of(options: DataclassInstance) -> dict[str, Any]:
    """Return the values of options by name, to make options of another class from them."""
    return {each.name: getattr(options, each.name) for each in fields(options)}
