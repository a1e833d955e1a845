"""Answer a question over several nodes, as steps that Prefect shows."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Final

from prefect import task
from prefect.artifacts import create_markdown_artifact

from prefect_ollama.blocks.documents import CheckedAnswer, Hit, Quote
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.tasks.answering import AnswerNodes, AskOptions, Drafts, Judged, judge_drafts, write_drafts
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque
from prefect_ollama.tasks.query import SHOWN_DPI, SHOWN_PAGES
from prefect_ollama.tasks.searching import MarkedPage, QuoteDrawer

# Key of the artifact, one for all answers, so that Prefect's page of artifacts shows the last one with its history.
ARTIFACT: Final = "answer"

NOT_IN_DOCUMENTS: Final = "Not in the documents."


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
        answer_markdown(answer, pages.content),
        key=ARTIFACT,
        description=f"Answer to: {escape_markdown(answer.question)}",
    )


def answer_markdown(
    answer: CheckedAnswer, pages: Mapping[Quote, Sequence[MarkedPage]], nothing: str = NOT_IN_DOCUMENTS
) -> str:
    """Return an answer as Markdown: sentences, quotes with file and page, and what was left out.

    Args:
        pages: Pictures of the pages of its quotes.
        nothing: What stands in place of sentences, if there are none.
    """
    quotes = list(answer.quotes())
    parts = [f"# {escape_markdown(answer.question)}"]
    parts += [nothing] if not answer else []
    for sentence in answer.sentences:
        marks = "".join(f" [{quotes.index(quote) + 1}]" for quote in sentence.quotes)
        note = "" if sentence.supported else f" (not supported: {escape_markdown(sentence.reason)})"
        parts.append(f"{escape_markdown(sentence.text)}{marks}{note}")
    for number, quote in enumerate(quotes, 1):
        where = f"{escape_markdown(quote.path)}, {quote.pages}"
        parts.append(f"[{number}] {where}: “{escape_markdown(' '.join(quote.text.split()))}”")
        for page in pages.get(quote, ()):
            if page.note:
                parts.append(f"Page {page.page}: {escape_markdown(page.note)}")
            if page.png:
                # In the text itself, so that it exists as long as the artifact, and loads nothing from elsewhere.
                data = base64.b64encode(page.png).decode()
                parts.append(f"![quote {number} on page {page.page}](data:image/png;base64,{data})")
    parts += [escape_markdown(note) for note in answer.notes]
    if answer.dropped:
        parts.append("## Left out")
        parts += [
            f"- {escape_markdown(each.text)} ({escape_markdown(each.reason)})" for each in answer.dropped
        ]
    return "\n\n".join(parts) + "\n"
