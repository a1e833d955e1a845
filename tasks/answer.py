"""Answer a question over several nodes, as steps that Prefect shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from prefect_ollama.blocks.documents import CheckedAnswer, Hit
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.tasks.answering import (
    AnswerNodes,
    AskOptions,
    Drafts,
    Judged,
    judge_drafts,
    write_drafts,
)
from prefect_ollama.tasks.prefect_state import Opaque

# Key of the artifact.
ARTIFACT: Final = "answer"

NOT_IN_DOCUMENTS: Final = "Not in the documents."


@task(
    name="write drafts",
    task_run_name="write {options.drafts} drafts",
    cache_policy=NO_CACHE,
    persist_result=False,
)
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


@task(name="judge drafts", task_run_name="judge the drafts", cache_policy=NO_CACHE, persist_result=False)
def judge_answer(
    question: str, drafts: Opaque[Drafts], nodes: Opaque[AnswerNodes], model: str
) -> Opaque[Judged]:
    """Check the sentences of drafts, and judge whether their quotes prove them.

    Raises:
        ClusterError: No node works any more.
    """
    return Opaque(judge_drafts(question, drafts.content, nodes.content, model))


@task(name="show answer", task_run_name="show the answer", cache_policy=NO_CACHE, persist_result=False)
def show_answer(answer: CheckedAnswer) -> None:
    """Show an answer with its quotes as an artifact of the run."""
    create_markdown_artifact(
        answer_markdown(answer), key=ARTIFACT, description=f"Answer to: {escape_markdown(answer.question)}"
    )


def answer_markdown(answer: CheckedAnswer) -> str:
    """Return an answer as Markdown: sentences, quotes with file and page, and what was left out."""
    quotes = list(answer.quotes())
    parts = [f"# {escape_markdown(answer.question)}"]
    parts += [NOT_IN_DOCUMENTS] if not answer else []
    for sentence in answer.sentences:
        marks = "".join(f" [{quotes.index(quote) + 1}]" for quote in sentence.quotes)
        note = "" if sentence.supported else f" (not supported: {escape_markdown(sentence.reason)})"
        parts.append(f"{escape_markdown(sentence.text)}{marks}{note}")
    for number, quote in enumerate(quotes, 1):
        where = f"{escape_markdown(quote.path)}, page {quote.page_from}"
        parts.append(f"[{number}] {where}: “{escape_markdown(' '.join(quote.text.split()))}”")
    parts += [escape_markdown(note) for note in answer.notes]
    if answer.dropped:
        parts.append("## Left out")
        parts += [
            f"- {escape_markdown(each.text)} ({escape_markdown(each.reason)})" for each in answer.dropped
        ]
    return "\n\n".join(parts) + "\n"
