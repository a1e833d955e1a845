"""How an answer with its quotes, and a report with its parts and steps, look in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.console import line
from prefect_ollama.fitted import Fitted

if TYPE_CHECKING:
    from prefect_ollama.blocks.documents import (
        CheckedAnswer,
        CheckedReport,
        CheckedSentence,
        Quote,
        ReportPart,
        ReportStep,
    )

NOT_IN_DOCUMENTS = "Not in the documents."
# Of a report that a limit ended: the documents may hold more than was read.
NOT_DONE = "Nothing was found before the limit."


def plain(found: CheckedAnswer, pictures: Mapping[Quote, Sequence[str]]) -> dict[str, Any]:
    """Return an answer as plain values, for JSON; each quote with its `pictures`."""
    values = found.to_dict()
    for sentence, shown in zip(found.sentences, values["sentences"], strict=True):
        for quote, each in zip(sentence.quotes, shown["quotes"], strict=True):
            each["pictures"] = list(pictures.get(quote, ()))
    return values


def answer(
    found: CheckedAnswer, pictures: Mapping[Quote, Sequence[str]], nothing: str = NOT_IN_DOCUMENTS
) -> RenderableType:
    """Return an answer: its sentences, or `nothing`, then the quotes that they name, then what was left out."""
    quotes = list(found.quotes())
    parts: list[RenderableType] = []
    if not found:
        parts.append(line(nothing, "bold"))
    parts += [_sentence(each, quotes) for each in found.sentences]
    parts.append(Text(""))
    said = {each.text for each in found.sentences}
    for number, quote in enumerate(quotes, 1):
        parts.append(line(f"[{number}] {quote.path}, {quote.pages}", "bold"))
        # A quote keeps the line ends of its page, which mean nothing here.
        words = " ".join(quote.text.split())
        # Without a chat model a sentence is its own quote, and would stand there twice.
        shown: list[RenderableType] = [] if words in said else [line(f"“{words}”")]
        shown += [line(file, "dim") for file in pictures.get(quote, ())]
        parts.append(Padding(Group(*shown), (0, 0, 0, 4)))
    parts += [line(note, "dim") for note in found.notes]
    if found.dropped:
        parts.append(line("Left out, because the documents do not support it:", "dim"))
        parts += [line(f"- {each.text} ({each.reason})", "dim") for each in found.dropped]
    return Group(*parts)


def _sentence(sentence: CheckedSentence, quotes: Sequence[Quote]) -> Text:
    marks = "".join(f"[{quotes.index(quote) + 1}]" for quote in sentence.quotes)
    note = "" if sentence.supported else f" (not supported: {sentence.reason})"
    return line(" ".join(part for part in (sentence.text, marks) if part) + note)


def report(found: CheckedReport) -> RenderableType:
    """Return a report: the text with its quotes, what each part found and dropped, and the steps."""
    parts: list[RenderableType] = [answer(found.answer, {}, NOT_DONE if found.ended_by else NOT_IN_DOCUMENTS)]
    for each in found.parts:
        parts += [Text(""), *_part(each)]
    if found.steps:
        parts += [
            Text(""),
            Fitted(
                ("step", "node", "model", "seconds", "tokens", "note"),
                map(_cells, found.steps),
                drop=("note", "model"),
                numbers=("seconds", "tokens"),
            ),
        ]
    return Group(*parts)


def _part(part: ReportPart) -> list[RenderableType]:
    count = f"{quantity(len(part.findings), 'finding')}, {len(part.dropped)} dropped"
    told = [line(f"- {each.text} ({each.reason})", "dim") for each in part.dropped]
    told += [line(part.note, "dim")] if part.note else []
    return [line(part.title, "bold"), Padding(Group(line(count), *told), (0, 0, 0, 4))]


def _cells(step: ReportStep) -> tuple[str, str, str, str, str, str]:
    return (
        step.name,
        ", ".join(step.nodes),
        ", ".join(step.models),
        f"{step.seconds:.1f}",
        f"{step.prompt_tokens + step.answer_tokens:,}",
        "from the cache" if step.cached else step.note,
    )
