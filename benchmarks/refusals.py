"""The logistic model of the chance that passages answer a question: fitted, cross-validated, and without evidence.

`benchmarks.answers --fit` prints it. The fresh questions are not used.
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
    best_sentences,
    find_quote,
    normal,
    reading_order,
    strength,
)

PASSAGES = AskOptions().passages
NAMES = ("shared", "nearest", "missing")
PENALTY = 5.0
FOLDS, REPEATS = 5, 20


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
    """Yield the weights fitted on the calibration half, and the curve of refusals cross-validated over both halves.

    Args:
        corpus: The samples.
        labels: Labelled questions, each with its part.
    """
    used = [(label, part) for label, part in labels if part != "fresh"]
    found = [corpus.search(label["question"], limit=PASSAGES) for label, _ in used]
    values = np.array(
        [evidence(corpus, label["question"], hits) for (label, _), hits in zip(used, found, strict=True)]
    )
    answerable = np.array(["answer" in label for label, _ in used])
    half = np.array([part == "calibration" for _, part in used])
    weights = fit(values[half], answerable[half])
    table = Table("weight", "value", title="Fitted on the calibration half")
    for name, value in zip((*NAMES, "bias"), weights, strict=True):
        table.add_row(name, f"{value:.2f}")
    for name, those in (("calibration", half), ("held out", ~half)):
        table.add_row(
            f"area under the curve, {name}", f"{area(scores(weights, values[those]), answerable[those]):.3f}"
        )
    twins = [
        (values[at], evidence(corpus, label["question"], rest))
        for at, ((label, _), hits) in enumerate(zip(used, found, strict=True))
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
    yield cross_validated(values, answerable)


def evidence(corpus: Corpus, question: str, hits: Sequence[Hit]) -> tuple[float, float, float]:
    """Return the three values of the model for a question and its passages, in the order of `NAMES`."""
    fits = strength(question, hits, corpus.model)
    best = best_sentences(question, reading_order(hits[:EXTRACT_PASSAGES]), corpus._open.nodes)
    return fits.shared, best.nearest or 0.0, float(bool(fits.missing))


def holds(hit: Hit, label: dict[str, Any]) -> bool:
    """Return whether a passage is from the labelled file and holds the labelled phrase."""
    return hit.path == label["file"] and find_quote(label["answer"], normal(hit.text)) is not None


def cross_validated(values: Any, answerable: Any) -> Table:
    """Return the curve of refusals by chances that were fitted on other questions.

    Args:
        values: float of shape (questions, values).
        answerable: bool of shape (questions,).
    """
    random = np.random.default_rng(0)
    total, areas = np.zeros(len(values)), []
    for _ in range(REPEATS):
        order, chance = random.permutation(len(values)), np.zeros(len(values))
        for fold in range(FOLDS):
            those = np.isin(np.arange(len(values)), order[fold::FOLDS])
            chance[those] = scores(fit(values[~those], answerable[~those]), values[those])
        areas.append(area(chance, answerable))
        total += chance / REPEATS
    table = Table(
        "threshold",
        "refusals: precision",
        "recall",
        "answerable ones kept",
        title=f"Cross-validated over both halves, area under the curve {np.mean(areas):.3f}",
    )
    for at in np.arange(0.30, 0.71, 0.05):
        table.add_row(f"{at:.2f}", *refusals(list(total < at), list(answerable)))
    return table


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
