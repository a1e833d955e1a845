"""Search a table and answer questions from it, and show passages, answers and reports, as steps that Prefect shows."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import task_run

from prefect_ollama.blocks.documents import CheckedAnswer, CheckedReport, Found, Hit, Quote
from prefect_ollama.blocks.lance import Mode
from prefect_ollama.blocks.output_files import write_output
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.answering import AskOptions
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque, counted_name, run_logger
from prefect_ollama.tasks.reporting import answer_lines, lines_markdown, picture_markdown, report_lines
from prefect_ollama.tasks.searching import Corpus, Filter, MarkedPage, PageDrawer

# Pages in an artifact: each takes some 100 KB in Prefect's database.
SHOWN_PAGES: Final = 10

# Dots per inch: less than for files, because Prefect keeps artifacts in its database.
SHOWN_DPI: Final = 72

# Key of the artifact, one for all searches.
PAGES: Final = "search-pages"

# Key of the artifact, one for all answers, so that Prefect's page of artifacts shows the last one with its history.
ARTIFACT: Final = "answer"

# The same for all reports.
REPORT: Final = "report"


def _search_name() -> str:
    options = task_run.parameters["options"]
    return f"search {quantity(options['limit'], 'passage')}, {options['mode']}"


@task(name="search table", task_run_name=_search_name, **UNCACHED)
def search_table(corpus: Opaque[Corpus], question: str, options: dict[str, Any]) -> Found:
    """Ask a table for the best passages.

    Args:
        options: As `Corpus.search` takes them.
    """
    found = corpus.content.search(question, **options)
    for note in found.notes:
        run_logger().warning("%s", note)
    return found


@task(name="show pages", task_run_name=counted_name("show the pages of", "passage", of="hits"), **UNCACHED)
def show_pages(question: str, hits: Opaque[Sequence[Hit]]) -> None:
    """Draw the pages of passages, marked, into an artifact of the run; the first `SHOWN_PAGES` of them.

    Args:
        question: The question, the artifact's title.
        hits: The passages; their files have to be readable here.
    """
    parts = [f"# {escape_markdown(question)}"]
    with PageDrawer(dpi=SHOWN_DPI) as drawer:
        pages = (
            (number, hit, page) for number, hit in enumerate(hits.content, 1) for page in drawer.passage(hit)
        )
        for number, hit, page in islice(pages, SHOWN_PAGES):
            parts.append(f"## {number}. {escape_markdown(hit.path)}, page {page.page}")
            drawn = page.png and picture_markdown(f"page {page.page}", page.png)
            parts.append(drawn or escape_markdown(page.note))
    create_markdown_artifact(
        "\n\n".join(parts), key=PAGES, description=f"Pages for: {escape_markdown(question)}"
    )


@task(name="answer question", task_run_name="answer the question", **UNCACHED)
def answer_question(
    corpus: Opaque[Corpus], question: str, mode: Mode, only: Filter, options: AskOptions
) -> CheckedAnswer:
    """Answer a question over all nodes; the log shows each step as it comes.

    Arguments and errors are those of `Corpus.ask`.
    """
    logger = run_logger()
    return corpus.content.ask(
        question, mode=mode, only=only, options=options, listen=lambda event: logger.info("%s", event.line)
    )


@task(name="draw quotes", task_run_name="draw the pages of the quotes", **UNCACHED)
def draw_quotes(answer: Opaque[CheckedAnswer]) -> Opaque[dict[Quote, list[MarkedPage]]]:
    """Draw the pages of an answer's quotes, the words marked; the first `SHOWN_PAGES` of them.

    Args:
        answer: The answer; the files that it quotes have to be readable here.
    """
    drawn: dict[Quote, list[MarkedPage]] = {}
    with PageDrawer(dpi=SHOWN_DPI) as drawer:
        # In the order of the answer, so that its first sentences have their pictures.
        for quote in answer.content.quotes():
            room = SHOWN_PAGES - sum(len(pages) for pages in drawn.values())
            if room > 0:
                drawn[quote] = drawer.quote(quote, answer.content.passages[quote.passage - 1])[:room]
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
    write_output(
        file,
        lines_markdown(report_lines(report)),
        "The report is an artifact of the run. Its answers are cached, so a second run is quick.",
    )
