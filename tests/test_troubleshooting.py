"""The page of symptoms is about this code: what it quotes can be read in it, and no error or kind is left out."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from prefect_ollama.blocks import errors
from prefect_ollama.tasks.dispatch import Unfinished
from prefect_ollama.tasks.parsing import REMEDIES

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
CLASSES = sorted(
    {
        each.__name__
        for each in vars(errors).values()
        if isinstance(each, type)
        and issubclass(each, errors.PrefectOllamaError)
        and each is not errors.PrefectOllamaError
    }
    | {Unfinished.__name__}
)
QUOTED = [
    text
    for table in re.findall(r"^\| text \|.*\n\|.*\n((?:\|.*\n)+)", PAGE, re.M)
    for text in re.findall(r"^\| `(.*?)` \|", table, re.M)
]


def sources() -> Iterator[ast.AST]:
    for layer in ("blocks", "cli", "flows", "tasks"):
        for path in sorted((ROOT / layer).rglob("*.py")):
            yield ast.parse(path.read_text(encoding="utf-8"))


def filled(text: ast.JoinedStr) -> str:
    """A text with … in place of what it fills in; of a quantity, the plural."""
    parts = []
    for part in text.values:
        match part:
            case ast.Constant(value=value):
                parts.append(str(value))
            case ast.FormattedValue(
                value=ast.Call(func=ast.Name("quantity"), args=[_, *_, ast.Constant(str(noun))] as args)
            ):
                parts.append(f"… {noun}" + ("s" if len(args) == 2 else ""))
            case _:
                parts.append("…")
    return "".join(parts)


@cache
def texts() -> list[str]:
    """Every text in the code that is no mere word, with … in place of what it fills in."""
    return [re.sub(r"\s+", " ", text) for text in dict.fromkeys(_texts()) if len(text) > 8]


def _texts() -> Iterator[str]:
    for tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%[-\d.]*[sdrf]", "…", node.value)
            elif isinstance(node, ast.JoinedStr):
                yield filled(node)
            elif isinstance(node, ast.Call):
                # Cause, state and remedy are read as one text.
                yield " ".join(
                    filled(value) if isinstance(value, ast.JoinedStr) else str(value.value)
                    for value in (*node.args, *(each.value for each in node.keywords))
                    if isinstance(value, ast.JoinedStr)
                    or (isinstance(value, ast.Constant) and isinstance(value.value, str))
                )


def occurs(quoted: str) -> bool:
    """Whether the parts of a quoted text stand in one text of the code, in their order."""
    parts = [re.escape(part.strip()) for part in quoted.split("…") if part.strip(" .")]
    pattern = re.compile(".*".join(parts))
    return any(pattern.search(text) for text in texts())


def test_the_page_quotes_enough() -> None:
    assert len(QUOTED) >= 90
    assert len(set(QUOTED)) == len(QUOTED)
    assert not occurs("This text … nowhere in the code.")


@pytest.mark.parametrize("quoted", QUOTED)
def test_what_is_quoted_is_said_by_the_code(quoted: str) -> None:
    assert occurs(quoted)


@pytest.mark.parametrize("name", CLASSES)
def test_every_error_has_its_place(name: str) -> None:
    assert f"`{name}`" in PAGE


def kinds() -> set[str]:
    """Every kind that a row of the manifest can have."""
    found = set(REMEDIES)
    for tree in sources():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if called in ("Document", "replace", "Problem"):
                found |= {
                    str(each.value.value)
                    for each in node.keywords
                    if each.arg == "kind" and isinstance(each.value, ast.Constant)
                }
            # The calls that name a kind by its place.
            place = {"_refusal": 2, "Stopped": 0, "_give_up": 1}.get(called)
            if place is not None and isinstance(value := getattr(node.args[place], "value", None), str):
                found.add(value)
    return found


def test_every_kind_of_a_file_that_failed_is_explained() -> None:
    explained = set(re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.M))
    assert {"lost", "text", "no-text", "outside", "damaged", "ocr-off", "ocr-language"} <= kinds()
    assert kinds() - {""} <= explained
