"""How the lines of an answer or a report look in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding

from prefect_ollama.console import line
from prefect_ollama.fitted_table import Fitted
from prefect_ollama.tasks.reporting import GAP, Line, Rows

if TYPE_CHECKING:
    from prefect_ollama.blocks.documents import CheckedAnswer, Quote

_STYLES: Final = {
    "heading": "dim",
    "part": "bold",
    "none": "bold",
    "text": "",
    "quote": "bold",
    "item": "dim",
    "note": "dim",
}

# Columns before what belongs to a quote or a part.
_INDENT: Final = 4


def plain(found: CheckedAnswer, pictures: Mapping[Quote, Sequence[str]]) -> dict[str, Any]:
    """Return an answer as plain values, for JSON; each quote with its `pictures`."""
    values = found.to_dict()
    for sentence, shown in zip(found.sentences, values["sentences"], strict=True):
        for quote, each in zip(sentence.quotes, shown["quotes"], strict=True):
            each["pictures"] = list(pictures.get(quote, ()))
    return values


def lines(
    what: Iterable[Line | Rows], pictures: Mapping[Quote, Sequence[str]] | None = None
) -> RenderableType:
    """Return lines; below each quote its words and the files with `pictures` of its pages."""
    parts: list[RenderableType] = []
    indent = 0
    for each in what:
        if isinstance(each, Rows):
            parts.append(Fitted(each.columns, each.cells, drop=each.drop, numbers=each.numbers))
            continue
        if each.only == "page":
            continue
        indent = 0 if each == GAP else indent
        sign = "- " if each.kind == "item" else ""
        text = line(f"{sign}{' '.join(each.parts)}", _STYLES[each.kind])
        parts.append(Padding(text, (0, 0, 0, indent)))
        below = [line(f"“{each.words}”")] if each.words else []
        below += [line(file, "dim") for file in (pictures or {}).get(each.quote, ())] if each.quote else []
        if below:
            parts.append(Padding(Group(*below), (0, 0, 0, _INDENT)))
        indent = _INDENT if each.kind == "part" else indent
    return Group(*parts)
