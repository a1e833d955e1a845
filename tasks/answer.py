"""Answer a question over several nodes, and show answers and reports, as steps that Prefect shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from prefect import task
from prefect.artifacts import create_markdown_artifact

from prefect_ollama.blocks.documents import CheckedAnswer, CheckedReport, Hit, Quote
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.tasks.answering import AnswerNodes, AskOptions, Drafts, Judged, judge_drafts, write_drafts
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque
from prefect_ollama.tasks.query import SHOWN_DPI, SHOWN_PAGES
from prefect_ollama.tasks.reporting import answer_lines, lines_markdown, report_lines
from prefect_ollama.tasks.researching import write_file
from prefect_ollama.tasks.searching import MarkedPage, QuoteDrawer

# Key of the artifact, one for all answers, so that Prefect's page of artifacts shows the last one with its history.
ARTIFACT: Final = "answer"

# The same for all reports.
REPORT: Final = "report"


@task(name="write drafts", task_run_name="write {options.drafts} drafts", **UNCACHED)
def write_answer(
    question: str, hits: Opaque[Sequence[Hit]], nodes: Opaque[AnswerNodes], options: AskOptions
) -> Opaque[Drafts]:
    """Let the chat model write drafts of an answer, at the same time over all nodes that have it.

    Raises:
        ChatError: No node gave a draft that can be used.
        ClusterError: No node works any more.
    """
    assert nodes.content.chat is not None
    return Opaque(write_drafts(question, hits.content, nodes.content.chat, options))


@task(name="judge drafts", task_run_name="judge the drafts", **UNCACHED)
def judge_answer(
    question: str, drafts: Opaque[Drafts], nodes: Opaque[AnswerNodes], model: str
) -> Opaque[Judged]:
    """Check the sentences of drafts, and judge whether their quotes prove them.

    Raises:
        ChatError: The judge model gave no answer that can be used.
        ClusterError: No node works any more.
    """
    return Opaque(judge_drafts(question, drafts.content, nodes.content, model))


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
