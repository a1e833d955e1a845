"""Show the help of flow parameters and block fields in the API reference.

Prefect's forms show this help, so it is written once, in pydantic's `Field`. Griffe reads source text and does not know
it. This extension imports the object and adds each help text to the docstring that the reference shows.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import griffe
from pydantic import BaseModel
from pydantic.fields import FieldInfo

SECTION = re.compile(r"^(Returns|Raises|Examples|Example|Requires):", re.MULTILINE)


class FieldHelp(griffe.Extension):
    """Add the help of `Field` to functions of flows and to pydantic models."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Complete all modules of a package that was loaded."""
        for module in _modules(pkg):
            for member in module.members.values():
                if isinstance(member, griffe.Function) and module.path.startswith("prefect_ollama.flows"):
                    _complete_function(member)
                elif isinstance(member, griffe.Class) and module.path.startswith(
                    ("prefect_ollama.flows", "prefect_ollama.blocks")
                ):
                    _complete_class(member)


def _modules(module: griffe.Module) -> Iterator[griffe.Module]:
    yield module
    for member in module.members.values():
        if isinstance(member, griffe.Module):
            yield from _modules(member)


def _complete_function(function: griffe.Function) -> None:
    if function.name.startswith("_") or function.docstring is None or "Args:" in function.docstring.value:
        return
    value = griffe.dynamic_import(function.path)
    try:
        hints = typing.get_type_hints(getattr(value, "fn", value), include_extras=True)
    except NameError:  # a name that is imported for type checkers only
        return
    texts = {name: text for name, hint in hints.items() if (text := _help_of(hint))}
    if not texts:
        return
    for parameter in function.parameters:
        if parameter.name in texts:
            parameter.annotation = _plain(hints[parameter.name])
    lines = "\n".join(f"    {name}: {text}" for name, text in texts.items())
    text = function.docstring.value
    at = found.start() if (found := SECTION.search(text)) else len(text)
    function.docstring.value = f"{text[:at].rstrip()}\n\nArgs:\n{lines}\n\n{text[at:]}".rstrip()


def _complete_class(cls: griffe.Class) -> None:
    value = griffe.dynamic_import(cls.path)
    if not (isinstance(value, type) and issubclass(value, BaseModel)):
        return
    for name, field in value.model_fields.items():
        member = cls.members.get(name)
        if isinstance(member, griffe.Attribute) and member.docstring is None and (text := _text(field)):
            member.docstring = griffe.Docstring(text, parent=member)
            # In place of the call of `Field`, whose text is shown above.
            simple = isinstance(field.default, str | int | float | None) and not field.is_required()
            member.value = repr(field.default) if simple else None


def _help_of(hint: object) -> str:
    """Return the help in the metadata of an `Annotated` hint; empty where there is none."""
    metadata = getattr(hint, "__metadata__", ())
    return next((text for each in metadata if isinstance(each, FieldInfo) and (text := _text(each))), "")


def _text(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    told = extra.get("description") if isinstance(extra, Mapping) else None
    return str(told or field.description or "")


def _plain(hint: Any) -> str:
    """Return a type hint as text, without the metadata of `Annotated` and without module names."""
    if hasattr(hint, "__metadata__"):
        return _plain(hint.__origin__)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(_plain(each) for each in arguments)
    if origin is typing.Literal:
        return f"Literal[{', '.join(repr(each) for each in arguments)}]"
    if arguments:
        return f"{origin.__name__}[{', '.join(_plain(each) for each in arguments)}]"
    if hint is type(None):
        return "None"
    return "..." if hint is Ellipsis else str(getattr(hint, "__name__", hint))
