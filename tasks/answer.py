"""Answer a question, and show answers and reports, as steps that Prefect shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from prefect import task
from prefect.artifacts import create_markdown_artifact

from prefect_ollama.blocks.documents import CheckedAnswer, CheckedReport, Quote
from prefect_ollama.blocks.lance import Mode
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.tasks.answering import AskOptions
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque, run_logger
from prefect_ollama.tasks.query import SHOWN_DPI, SHOWN_PAGES
from prefect_ollama.tasks.reporting import answer_lines, lines_markdown, report_lines
from prefect_ollama.tasks.researching import write_file
from prefect_ollama.tasks.searching import Corpus, Filter, MarkedPage, QuoteDrawer

# Key of the artifact, one for all answers, so that Prefect's page of artifacts shows the last one with its history.
ARTIFACT: Final = "answer"

# The same for all reports.
REPORT: Final = "report"


@task(name="answer question", task_run_name="answer the question", **UNCACHED)
def answer_question(
    corpus: Opaque[Corpus], question: str, mode: Mode, only: Filter, options: AskOptions
) -> CheckedAnswer:
    """Answer a question over all nodes; the log shows each step as it comes.

    Arguments and errors are those of `Corpus.ask`.
    """
    logger = run_logger()
    return corpus.content.ask(
        question,
        mode=mode,
        only=only,
        options=options,
        listen=lambda event: logger.info("%s", event.line),
    )


@task(name="draw quotes", task_run_name="draw the pages of the quotes", **UNCACHED)
def draw_quotes(answer: Opaque[CheckedAnswer]) -> Opaque[dict[Quote, list[MarkedPage]]]:
    """Draw the pages of an answer's quotes, the words marked; the first `SHOWN_PAGES` of them.

    Args:
        answer: The answer; the files that it quotes have to be readable here.
    """
    drawn: dict[Quote, list[MarkedPage]] = {}
    with QuoteDrawer(dpi=SHOWN_DPI) as drawer:
        # In the order of the answer, so that its first sentences have their pictures.
        for quote in answer.content.quotes():
            room = SHOWN_PAGES - sum(len(pages) for pages in drawn.values())
            if room > 0:
                drawn[quote] = drawer.pages(quote, answer.content.passages[quote.passage - 1])[:room]
    return Opaque(drawn)


@task(name="show answer", task_run_name="show the answer", **UNCACHED)
def show_answer(answer: CheckedAnswer, pages: Opaque[Mapping[Quote, Sequence[MarkedPage]]]) -> None:
    """Show an answer with its quotes, and pictures of their pages, as an artifact of the run."""
    create_markdown_artifact(
        lines_markdown(answer_lines(answer), pages.content),
        key=ARTIFACT,
        description=f"Answer to: {escape_markdown(answer.question)}",
    )


@task(name="show report", task_run_name="show the report", **UNCACHED)
def show_report(report: CheckedReport) -> None:
    """Show a report with its quotes and steps as an artifact of the run."""
    title = escape_markdown(report.answer.question)
    create_markdown_artifact(lines_markdown(report_lines(report)), key=REPORT, description=f"Report: {title}")


@task(name="write report", task_run_name="write the report to a file", **UNCACHED)
def write_report(report: CheckedReport, file: Path) -> None:
    """Write a report into a Markdown file, which is replaced as a whole.

    Raises:
        ConfigurationError: It cannot be written.
    """
    write_file(file, lines_markdown(report_lines(report)))
