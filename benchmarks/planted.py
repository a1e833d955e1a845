"""Simulated nodes that plant errors in answers, and what the checks of `ask` made of each error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.table import Table

from prefect_ollama import CheckedAnswer
from prefect_ollama.blocks.embedded import EmbeddedNodes
from tests.nodes import Node, nodes
from tests.nodes.reader import DRAFT_ERRORS, NO_ERROR, SENTENCE_ERRORS

MODEL = "scripted"
NODES = 3
ERRORS = 0.4
BAD_DRAFTS = 0.15
JUDGE_ERRORS = 0.1

_MADE, _CODE, _JUDGE, _MISSED = range(4)


@contextmanager
def scripted_nodes() -> Iterator[tuple[list[str], list[Node]]]:
    """Yield the URLs of an embedded node and of simulated nodes that chat, and the latter."""
    reader = {"errors": ERRORS, "bad_drafts": BAD_DRAFTS, "judge_errors": JUDGE_ERRORS}
    settings = [
        {"models": (), "chat_models": [MODEL], "chat_reader": reader, "seed": seed} for seed in range(NODES)
    ]
    with EmbeddedNodes(1) as embedded, nodes(*settings) as started:
        yield [*embedded.urls, *(node.url for node in started)], started


def planted_table(answers: Sequence[CheckedAnswer], started: Sequence[Node]) -> Table:
    """Return how many errors were planted, and how many of them the checks caught, by kind.

    An error in a sentence is missed where the sentence is shown as supported. A draft that cannot be used is caught
    where another node wrote a whole one, or there is no answer.

    Args:
        answers: The answers to different questions, each from one draft.
        started: The nodes.
    """
    notes = [note for node in started for note in node.stats()["chat_read"]]
    drafts = [note for note in notes if note["step"] == "draft"]
    judged = [note for note in notes if note["step"] == "judge"]
    counts = _sentences(answers, drafts) | _drafts(answers, drafts)
    table = Table(
        "planted",
        "made",
        "caught in code",
        "caught by the judge",
        "missed",
        title="Errors of the scripted node",
    )
    for kind in (*DRAFT_ERRORS, *SENTENCE_ERRORS):
        table.add_row(kind, *map(str, counts[kind]))
    errors = [counts[kind] for kind in (*DRAFT_ERRORS, *SENTENCE_ERRORS)]
    table.add_row("all", *(str(sum(column)) for column in zip(*errors, strict=True)), style="bold")
    honest = counts[NO_ERROR]
    table.add_section()
    table.add_row(
        "sentences without an error", str(honest[_MADE]), *(f"{each} left out" for each in honest[1:3]), ""
    )
    erred = Counter(note["said"] for note in judged if note["erred"])
    wrong = f"{erred[True]} by a yes and {erred[False]} by a no"
    table.caption = f"The judge gave {len(judged)} answers, and erred in {wrong}."
    return table


def _sentences(answers: Sequence[CheckedAnswer], drafts: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    counts = {kind: [0, 0, 0, 0] for kind in (*SENTENCE_ERRORS, NO_ERROR)}
    by_question = {answer.question: answer for answer in answers}
    # Two nodes may write the same draft, where one of them is slow.
    planted = {
        (note["question"], each["text"]): each["error"]
        for note in drafts
        if note["error"] == NO_ERROR
        for each in note["sentences"]
    }
    for (question, text), error in planted.items():
        answer = by_question[question]
        # A sentence of the reader may be divided into several.
        shown = [each for each in answer.sentences if each.supported and each.text in text]
        left_out = [each for each in answer.dropped if each.text in text]
        if not shown and not left_out:
            continue  # another draft was used
        count = counts[error]
        count[_MADE] += 1
        if shown and error != NO_ERROR:
            count[_MISSED] += 1
        elif left_out and (error != NO_ERROR or not shown):
            count[_JUDGE if left_out[0].judged_by else _CODE] += 1
    return counts


def _drafts(answers: Sequence[CheckedAnswer], drafts: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    counts = {kind: [0, 0, 0, 0] for kind in DRAFT_ERRORS}
    whole = {note["question"] for note in drafts if note["error"] == NO_ERROR}
    shown = {answer.question for answer in answers if answer.sentences or answer.dropped}
    for note in drafts:
        if note["error"] != NO_ERROR:
            count = counts[note["error"]]
            count[_MADE] += 1
            count[_MISSED if note["question"] in shown - whole else _CODE] += 1
    return counts
