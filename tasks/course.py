"""The course of a run, for its report: a picture of throughput and shares over time, and how much the nodes gave."""

from __future__ import annotations

from prefect_ollama.tasks.report import IngestReport
from prefect_ollama.tasks.watching import Timeline, draw_timeline


def course(report: IngestReport, timeline: Timeline | None) -> str:
    """Markdown that shows how a run went.

    The picture is in the text itself, so that it lasts as long as the artifact and needs nothing from elsewhere.

    Args:
        report: The report.
        timeline: What each node did when, None where nobody watched.

    Returns:
        The Markdown, empty where no node embedded anything.
    """
    parts: list[str] = []
    picture = draw_timeline(timeline) if timeline is not None else None
    if picture is not None:
        parts.append(f"![Texts a second over the run, by node]({picture.uri()})")
    if report.efficiency is not None:
        parts.append(
            f"The nodes gave {report.efficiency:.0%} of what they can: of the texts that they would have embedded at "
            "their own rates, had none of them waited from the first text to the last."
        )
    return "\n\n".join(parts)
