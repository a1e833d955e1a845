"""How a report with its quotes, parts and steps looks in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from prefect_ollama import render_answer
from prefect_ollama.console import line
from prefect_ollama.fitted import Fitted

if TYPE_CHECKING:
    from prefect_ollama.blocks.documents import CheckedReport, ReportPart, ReportStep


def report(found: CheckedReport) -> RenderableType:
    """Return a report: the text with its quotes, what each part found and dropped, and the steps.

    Args:
        found: The report.
    """
    parts: list[RenderableType] = [render_answer.answer(found.answer, {})]
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
    count = f"{len(part.findings)} findings, {len(part.dropped)} dropped"
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
