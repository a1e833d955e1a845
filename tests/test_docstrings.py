"""Docstrings describe the parameters and attributes that are there, and say first what a function does."""

import ast
import re
from collections.abc import Iterator

from tests.test_public_api import ROOT, modules

SECTION = re.compile(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)+)", re.MULTILINE)
ENTRY = re.compile(r"    (\w+(?:, \w+)*):")

Described = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def described(docstring: str) -> Iterator[str]:
    """Names that a docstring explains under "Args" and "Attributes"."""
    for section in SECTION.finditer(docstring):
        for line in section.group(1).split("\n"):
            if entry := ENTRY.match(line):
                yield from entry.group(1).split(", ")


def there(node: Described) -> set[str]:
    """Parameters of a function; for a class also its attributes and methods."""
    if not isinstance(node, ast.ClassDef):
        return {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
    names = {each.arg for each in ast.walk(node) if isinstance(each, ast.arg)}
    names |= {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
    names |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    return names | {each.name for each in ast.walk(node) if isinstance(each, ast.FunctionDef)}


def test_docstrings_name_what_is_there() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has no {name!r}"
        for _, path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, Described)
        for name in described(ast.get_docstring(node) or "")
        if name not in there(node)
    ]
    assert wrong == []


NO_VERBS = {"A", "All", "An", "How", "Names", "Number", "Seconds", "The", "What", "Where", "Whether", "Which"}


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    """Functions have "Return whether …", not "Whether …"; a property is named as a value."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {text.splitlines()[0]}"
        for _, path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (text := ast.get_docstring(node)) and text.split()[0] in NO_VERBS
        if not any("property" in ast.unparse(each) for each in node.decorator_list)
    ]
    assert wrong == []
