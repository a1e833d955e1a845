"""The logistic model of the chance that passages answer a question: fitted, cross-validated, and without evidence.

`benchmarks.answers --fit` prints it. For the cross-validation the questions about one document are left out together,
because questions about one text resemble each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from prefect_ollama import AskOptions, Corpus
from prefect_ollama.blocks.documents import Hit
from prefect_ollama.tasks.answering import (
    EXTRACT_PASSAGES,
    EXTRACT_THRESHOLD,
    best_sentences,
    find_quote,
    normal,
    reading_order,
    strength,
)

PASSAGES = AskOptions().passages
NAMES = ("shared", "nearest", "apart")
PENALTY = 5.0
# Groups of the questions that are about no document.
REST = 5
# Samples of the bootstrap.
RESAMPLED = 2000


def share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "–"


def refusals(refused: Sequence[bool], answerable: Sequence[bool]) -> tuple[str, str, str]:
    """Precision and recall of refusals, and the share of answerable questions that are not refused."""
    right = sum(each and not label for each, label in zip(refused, answerable, strict=True))
    kept = sum(not each and label for each, label in zip(refused, answerable, strict=True))
    return (
        share(right, sum(refused)),
        share(right, len(answerable) - sum(answerable)),
        share(kept, sum(answerable)),
    )


def refusal_tables(corpus: Corpus, labels: Sequence[tuple[dict[str, Any], str]]) -> Iterator[Table]:
    """Yield the weights fitted on all questions, and the curve of refusals cross-validated by document.

    Args:
        corpus: The samples.
        labels: Labelled questions, each with its part.
    """
    found = [corpus.search(label["question"], limit=PASSAGES) for label, _ in labels]
    values = np.array(
        [evidence(corpus, label["question"], hits) for (label, _), hits in zip(labels, found, strict=True)]
    )
    answerable = np.array(["answer" in label for label, _ in labels])
    weights = fit(values, answerable)
    table = Table("weight", "value", title="Fitted on all questions")
    for name, value in zip((*NAMES, "bias"), weights, strict=True):
        table.add_row(name, f"{value:.2f}")
    twins = [
        (values[at], evidence(corpus, label["question"], rest))
        for at, ((label, _), hits) in enumerate(zip(labels, found, strict=True))
        if "answer" in label
        for rest in [[hit for hit in hits if not holds(hit, label)]]
        if len(rest) < len(hits)
    ]
    both = np.array([pair[0] for pair in twins] + [pair[1] for pair in twins])
    with_it = np.arange(len(both)) < len(twins)
    table.add_row(
        f"area, {len(twins)} questions with and without the passages that answer them",
        f"{area(scores(weights, both), with_it):.3f}",
    )
    yield table
    chances = left_out(values, answerable, groups([label for label, _ in labels]))
    fresh = np.array([part == "fresh" for _, part in labels])
    for name, those in (("all", fresh | True), ("both halves", ~fresh), ("fresh", fresh)):
        yield curve(chances[those], answerable[those], f"Cross-validated by document, {name}")


def groups(labels: Sequence[dict[str, Any]]) -> list[str]:
    """Return for each question its document; questions about none are dealt to `REST` groups."""
    names = [str(label.get("file") or label.get("topic") or "none").removesuffix(".pdf") for label in labels]
    return [f"none {at % REST}" if name == "none" else name for at, name in enumerate(names)]


def evidence(corpus: Corpus, question: str, hits: Sequence[Hit]) -> tuple[float, float, float]:
    """Return the three values of the model for a question and its passages, in the order of `NAMES`."""
    fits = strength(question, hits, corpus.model)
    best = best_sentences(question, reading_order(hits[:EXTRACT_PASSAGES]), corpus._open.nodes)
    return fits.shared, best.nearest or 0.0, float(bool(fits.apart))


def holds(hit: Hit, label: dict[str, Any]) -> bool:
    """Return whether a passage is from the labelled file and holds the labelled phrase."""
    return hit.path == label["file"] and find_quote(label["answer"], normal(hit.text)) is not None


def left_out(values: Any, answerable: Any, group: Sequence[str]) -> Any:
    """Return chances, float of shape (questions,), each by weights that were fitted without the question's group.

    Args:
        values: float of shape (questions, values).
        answerable: bool of shape (questions,).
        group: The group of each question.
    """
    names, chances = np.array(group), np.zeros(len(values))
    for name in set(group):
        those = names == name
        chances[those] = scores(fit(values[~those], answerable[~those]), values[those])
    return chances


def curve(chances: Any, answerable: Any, name: str) -> Table:
    """Return precision and recall of refusals by threshold, with 95 % intervals at the threshold that is used."""
    table = Table(
        "threshold",
        "refusals: precision",
        "recall",
        "answerable ones kept",
        title=f"{name}, area under the curve {area(chances, answerable):.3f}",
    )
    for at in np.union1d(np.arange(0.30, 0.71, 0.05), EXTRACT_THRESHOLD):
        shown = refusals(list(chances < at), list(answerable))
        if abs(at - EXTRACT_THRESHOLD) < 0.001:
            spread = intervals(chances < at, answerable)
            shown = tuple(
                f"{each} ({low:.2f}-{high:.2f})" for each, (low, high) in zip(shown, spread, strict=True)
            )
        table.add_row(f"{at:.2f}", *shown)
    return table


def intervals(refused: Any, answerable: Any) -> list[tuple[float, float]]:
    """Return the 95 % intervals of precision, recall and the share answered, by a bootstrap over questions."""
    random, found = np.random.default_rng(0), []
    for _ in range(RESAMPLED):
        those = random.integers(0, len(refused), len(refused))
        out, label = refused[those], answerable[those]
        wrong = (out & ~label).sum()
        found.append(
            (
                wrong / max(1, out.sum()),
                wrong / max(1, (~label).sum()),
                (~out & label).sum() / max(1, label.sum()),
            )
        )
    return [tuple(map(float, each)) for each in np.percentile(found, [2.5, 97.5], axis=0).T]  # type: ignore[misc]


def fit(values: Any, answerable: Any) -> Any:
    """Return the weights and the bias of a logistic model, by Newton's method with an L2 penalty.

    Args:
        values: float of shape (questions, values).
        answerable: bool of shape (questions,).

    Returns:
        float of shape (values + 1,), for values that are not standardised.
    """
    mean, spread = values.mean(0), values.std(0) + 1e-9
    known = np.c_[(values - mean) / spread, np.ones(len(values))]
    weights = np.zeros(known.shape[1])
    ridge = PENALTY * np.diag([1.0] * values.shape[1] + [1e-9])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-known @ weights))
        slope = known.T @ (chance - answerable) + ridge @ weights
        weights -= np.linalg.solve((known.T * (chance * (1 - chance))) @ known + ridge, slope)
    raw = weights[:-1] / spread
    return np.r_[raw, weights[-1] - raw @ mean]


def scores(weights: Any, values: Any) -> Any:
    """Return the chances, float of shape (questions,), that a fitted model gives."""
    return 1 / (1 + np.exp(-(values @ weights[:-1] + weights[-1])))


def area(chances: Any, answerable: Any) -> float:
    """Return the chance that an answerable question has a higher score than one that is not."""
    pairs = chances[answerable][:, None] - chances[~answerable][None, :]
    return float((pairs > 0).mean() + 0.5 * (pairs == 0).mean())
