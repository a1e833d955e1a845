"""How good answers over `samples/` are: right ones, quotes that were found, refusals; and the curves of thresholds.

`samples/questions.jsonl` holds questions that the samples answer, with a phrase of the answer, and
`samples/unanswerable.jsonl` those that they do not answer. `samples/fresh.jsonl` holds both kinds; its questions were
written after the weights of sentences were chosen. `samples/claims.jsonl` holds sentences that a quote proves
or does not prove. Without a chat model the answers are sentences of the documents.

    uv run python -m benchmarks.answers                                 the embedded model, no chat model
    uv run python -m benchmarks.answers --node URL --chat-model qwen3 --judge-model qwen3
    uv run python -m benchmarks.answers --scripted                      a simple reader that errs now and then
    uv run python -m benchmarks.answers --table FOLDER/                 a table of the samples that is there
    uv run python -m benchmarks.answers --fit                           also fit the weights of the chance again

The first two files are halved by a hash of the question. The weights of sentences were chosen on the calibration half.
Those of the chance were fitted on all questions, so the figures that count for refusals are the cross-validated ones.

`--scripted` starts simulated nodes whose chat model has no understanding: it takes sentences that share words with the
question, and plants errors in them (`tests/nodes/reader.py`). It shows what the checks catch, and nothing about models.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.planted import MODEL, planted_table, scripted_nodes
from benchmarks.refusals import refusal_tables, refusals, share
from prefect_ollama import AskOptions, CheckedAnswer, Corpus, open_corpus
from prefect_ollama.blocks.cluster import Nodes
from prefect_ollama.blocks.errors import ChatError
from prefect_ollama.tasks.answering import (
    EXTRACT_THRESHOLD,
    SUPPORT_THRESHOLD,
    VERBATIM,
    find_quote,
    normal,
    unsupported_facts,
)
from prefect_ollama.tasks.answering._judging import support_score
from prefect_ollama.tasks.answering._words import contradicts, overlap
from prefect_ollama.tasks.dispatch import Dispatcher
from tests.nodes import Node

SAMPLES = Path(__file__).parent.parent / "samples"
PARTS = ("calibration", "held out", "fresh")


@dataclass(frozen=True)
class Asked:
    """A labelled question and its answer.

    Attributes:
        label: The question, and either a phrase of its answer with file and pages, or a kind.
        part: `calibration`, `held out` or `fresh`.
        answer: What was answered.
    """

    label: dict[str, Any]
    part: str
    answer: CheckedAnswer

    @property
    def answerable(self) -> bool:
        return "answer" in self.label

    @property
    def right(self) -> bool:
        """Whether the labelled phrase stands in the answer, or in what it quotes on a labelled page."""
        phrase, file = self.label["answer"], self.label["file"]
        texts = [each.text for each in self.answer.sentences] + [
            quote.context
            for quote in self.answer.quotes()
            if quote.path == file
            and set(range(quote.page_from, quote.page_to + 1)) & set(self.label["pages"])
        ]
        return any(find_quote(phrase, normal(text)) is not None for text in texts)


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLES / name).read_text("utf-8").splitlines()]


def labelled(limit: int | None) -> list[tuple[dict[str, Any], str]]:
    """Return the labelled questions, each with the name of its part; with a limit, so many of each kind and file."""
    found = []
    for label in lines("questions.jsonl")[:limit] + lines("unanswerable.jsonl")[:limit]:
        odd = hashlib.sha256(label["question"].encode()).digest()[0] & 1
        found.append((label, "held out" if odd else "calibration"))
    fresh = lines("fresh.jsonl")
    for answerable in (True, False):
        found += [(label, "fresh") for label in fresh if ("answer" in label) == answerable][:limit]
    return found


@contextmanager
def corpus_of(arguments: argparse.Namespace, nodes: Nodes | None) -> Iterator[Corpus]:
    models = {"chat_model": arguments.chat_model, "judge_model": arguments.judge_model}
    with tempfile.TemporaryDirectory() as folder:
        place = arguments.table or f"{folder}/"
        if arguments.table is None:
            from prefect_ollama.flows import ingest_pdfs

            ingest_pdfs(str(SAMPLES), None if arguments.scripted else nodes, place)
        with open_corpus(place, nodes, **models) as corpus:
            yield corpus


def ask_all(corpus: Corpus, labels: Sequence[tuple[dict[str, Any], str]], options: AskOptions) -> list[Asked]:
    return [Asked(label, part, ask(corpus, label["question"], options)) for label, part in labels]


def ask(corpus: Corpus, question: str, options: AskOptions) -> CheckedAnswer:
    try:
        return corpus.ask(question, options=options)
    except ChatError as error:
        return CheckedAnswer(question, notes=(str(error),))


def threshold_curve(asked: Sequence[Asked], name: str) -> Table:
    table = Table(
        "threshold", "refusals: precision", "recall", "answerable ones kept", title=f"Weak retrieval, {name}"
    )
    known = [each for each in asked if each.answer.chance is not None]
    labels = [each.answerable for each in known]
    for at in np.union1d(np.arange(0.30, 0.81, 0.05), EXTRACT_THRESHOLD):
        chosen = "bold" if abs(at - EXTRACT_THRESHOLD) < 0.001 else ""
        refused = [(each.answer.chance or 0.0) < at for each in known]
        table.add_row(f"{at:.2f}", *refusals(refused, labels), style=chosen)
    return table


def claim_curve(corpus: Corpus) -> Table:
    claims = lines("claims.jsonl")
    labels = np.array([each["supported"] for each in claims])
    table = Table(
        "threshold", "words", "words and embeddings", title="Claims without a judge model, macro-F1"
    )
    scores = []
    for nodes in (None, corpus._open.nodes):
        scores.append(np.array([support_of_claim(each["sentence"], each["quote"], nodes) for each in claims]))
    for at in np.arange(0.40, 0.96, 0.05):
        chosen = "bold" if abs(at - SUPPORT_THRESHOLD) < 0.001 else ""
        table.add_row(f"{at:.2f}", *(f"{macro_f1(each >= at, labels):.3f}" for each in scores), style=chosen)
    return table


def support_of_claim(sentence: str, quote: str, nodes: Dispatcher | None) -> float:
    """Return the score of a sentence and one quote without a judge model; 0 if another check fails."""
    if unsupported_facts(sentence, [quote], [quote]) or contradicts(sentence, quote):
        return 0.0
    cosine = None
    if nodes is not None and not (embedded := nodes.embed([sentence, quote])).failures:
        cosine = float(np.dot(*embedded.vectors))
    return support_score(overlap(sentence, quote), cosine)


def macro_f1(said: Any, labels: Any) -> float:
    both = []
    for kind in (True, False):
        right = int(((said == kind) & (labels == kind)).sum())
        both.append(2 * right / max(1, int((said == kind).sum()) + int((labels == kind).sum())))
    return statistics.mean(both)


def summary(asked: Sequence[Asked]) -> Table:
    parts = {part: [each for each in asked if each.part == part] for part in PARTS}
    found = {part: figures(those) for part, those in parts.items() if those}
    table = Table("measure", *found, title="Answers")
    for measure in next(iter(found.values())):
        table.add_row(measure, *(each[measure] for each in found.values()))
    return table


def figures(asked: Sequence[Asked]) -> dict[str, str]:
    answerable = [each for each in asked if each.answerable]
    shown = [
        (each.answer, sentence) for each in asked for sentence in each.answer.sentences if sentence.supported
    ]
    quoted = sum(
        bool(sentence.quotes)
        and all(
            answer.passages[quote.passage - 1].text[quote.start : quote.end] == quote.text
            and find_quote(quote.text, normal(answer.passages[quote.passage - 1].text)) is not None
            for quote in sentence.quotes
        )
        for answer, sentence in shown
    )
    precision, recall, kept = refusals(
        [not each.answer for each in asked], [each.answerable for each in asked]
    )
    written = [each for each in asked if each.answer.judged_by not in ("", VERBATIM)]
    judged = [
        sentence
        for each in written
        for sentence in (*each.answer.sentences, *each.answer.dropped)
        if sentence.judged_by
    ]
    models = {each.answer.model for each in asked if each.answer.model}
    judges = {each.answer.judged_by for each in asked if each.answer.judged_by}
    tokens = sum(each.answer.prompt_tokens + each.answer.answer_tokens for each in asked)
    return {
        "questions (answerable)": f"{len(asked)} ({len(answerable)})",
        "chat model": ", ".join(sorted(models)) or "none",
        "judge": ", ".join(sorted(judges)) or "none",
        "right answers, of answerable": share(sum(each.right for each in answerable), len(answerable)),
        "answerable ones answered": kept,
        "shown sentences whose quotes were found": share(quoted, len(shown)),
        "judged sentences that are supported": share(sum(each.supported for each in judged), len(judged)),
        "sentences left out": str(sum(len(each.answer.dropped) for each in asked)),
        "refusals: precision": precision,
        "refusals: recall": recall,
        "seconds a question": f"{statistics.mean(each.answer.seconds for each in asked):.2f}",
        "tokens a question": f"{tokens / len(asked):.0f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", help="a table of the samples; without it they are ingested")
    parser.add_argument("--node", action="append", help="URL of a node; may be given several times")
    parser.add_argument("--cluster", help="name of a saved cluster block")
    parser.add_argument("--chat-model")
    parser.add_argument("--judge-model")
    parser.add_argument(
        "--scripted", action="store_true", help="simulated nodes that plant errors in answers"
    )
    parser.add_argument("--drafts", type=int, default=1)
    parser.add_argument(
        "--fit", action="store_true", help="fit the weights of the chance again, cross-validated"
    )
    parser.add_argument("--questions", type=int, help="so many of each kind only")
    arguments = parser.parse_args()
    console = Console()
    with ExitStack() as opened:
        nodes: Nodes | None = arguments.cluster or arguments.node or None
        started: list[Node] = []
        if arguments.scripted:
            nodes, started = opened.enter_context(scripted_nodes())
            arguments.chat_model = arguments.judge_model = MODEL
        corpus = opened.enter_context(corpus_of(arguments, nodes))
        asked = ask_all(corpus, labelled(arguments.questions), AskOptions(drafts=arguments.drafts))
        console.print(summary(asked))
        if started:
            console.print(planted_table([each.answer for each in asked], started))
            return
        for part in PARTS:
            console.print(threshold_curve([each for each in asked if each.part == part], part))
        if arguments.fit:
            for table in refusal_tables(corpus, [(each.label, each.part) for each in asked]):
                console.print(table)
        console.print(claim_curve(corpus))


if __name__ == "__main__":
    main()
