"""Show a report as an artifact, and write it into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from prefect import task
from prefect.artifacts import create_markdown_artifact

from prefect_ollama.blocks.documents import CheckedReport
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.tasks.prefect_state import UNCACHED
from prefect_ollama.tasks.reporting import lines_markdown, report_lines
from prefect_ollama.tasks.researching import write_file

# Key of the artifact, one for all reports.
ARTIFACT: Final = "report"


@task(name="show report", task_run_name="show the report", **UNCACHED)
def show_report(report: CheckedReport) -> None:
    """Show a report with its quotes and steps as an artifact of the run."""
    title = escape_markdown(report.answer.question)
    create_markdown_artifact(
        lines_markdown(report_lines(report)), key=ARTIFACT, description=f"Report: {title}"
    )


@task(name="write report", task_run_name="write the report to a file", **UNCACHED)
def write_report(report: CheckedReport, file: Path) -> None:
    """Write a report into a Markdown file, which is replaced as a whole.

    Raises:
        ConfigurationError: It cannot be written.
    """
    write_file(file, lines_markdown(report_lines(report)))
