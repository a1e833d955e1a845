"""Show a report as an artifact, and write it into a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from prefect import task
from prefect.artifacts import create_markdown_artifact

from prefect_ollama.blocks.documents import CheckedReport, CheckedSentence, Quote, ReportPart, ReportStep
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.tasks.answer import NOT_IN_DOCUMENTS, answer_markdown
from prefect_ollama.tasks.prefect_state import UNCACHED
from prefect_ollama.tasks.researching import write_file

# Key of the artifact, one for all reports.
ARTIFACT: Final = "report"


@task(name="show report", task_run_name="show the report", **UNCACHED)
def show_report(report: CheckedReport) -> None:
    """Show a report with its quotes and steps as an artifact of the run."""
    title = escape_markdown(report.answer.question)
    create_markdown_artifact(report_markdown(report), key=ARTIFACT, description=f"Report: {title}")


@task(name="write report", task_run_name="write the report to a file", **UNCACHED)
def write_report(report: CheckedReport, file: Path) -> None:
    """Write a report into a Markdown file, which is replaced as a whole.

    Raises:
        ConfigurationError: It cannot be written.
    """
    write_file(file, report_markdown(report))


def report_markdown(report: CheckedReport) -> str:
    """Return a report as Markdown: the text with its quotes, the findings, what was dropped, and the steps."""
    # The documents may hold more than was read before a limit.
    nothing = "Nothing was found before the limit." if report.ended_by else NOT_IN_DOCUMENTS
    blocks = [answer_markdown(report.answer, {}, nothing).rstrip()]
    if report.parts:
        blocks.append("## Parts")
        blocks += [_part(part) for part in report.parts]
    if report.steps:
        blocks += ["## Steps", _steps(report.steps)]
    return "\n\n".join(blocks) + "\n"


def _part(part: ReportPart) -> str:
    lines = [f"### {escape_markdown(part.title)}", ""]
    lines += [f"- {_finding(each)}" for each in part.findings]
    lines += [escape_markdown(part.note), ""] if part.note else [""] if part.findings else []
    if part.dropped:
        lines += ["Dropped:", ""]
        lines += [f"- {escape_markdown(each.text)} ({escape_markdown(each.reason)})" for each in part.dropped]
    return "\n".join(lines).rstrip()


def _finding(finding: CheckedSentence) -> str:
    return f"{escape_markdown(finding.text)} {' '.join(map(_place, finding.quotes))}"


def _place(quote: Quote) -> str:
    words = escape_markdown(" ".join(quote.text.split()))
    return f"({escape_markdown(quote.path)}, page {quote.page_from}: “{words}”)"


def _steps(steps: Sequence[ReportStep]) -> str:
    rows = ["| step | node | model | seconds | tokens read | tokens written | note |"]
    rows.append("|---|---|---|---:|---:|---:|---|")
    for each in steps:
        # A step from the cache cost nothing in this run, so its note is about that.
        note = "From the cache." if each.cached else each.note
        cells = (each.name, ", ".join(each.nodes), ", ".join(each.models), f"{each.seconds:.1f}")
        numbers = (f"{each.prompt_tokens:,}", f"{each.answer_tokens:,}")
        rows.append(f"| {' | '.join(map(escape_markdown, (*cells, *numbers, note)))} |")
    return "\n".join(rows)
