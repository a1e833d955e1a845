"""Put what was found by vector and by words into one order, by their scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from prefect_ollama.blocks.lance._candidates import Candidates

DEPTH: Final = 300
"""Rows of each kind that are fused: what is far down both lists may come first in their union."""
VECTOR_WEIGHT: Final = 0.5


class Scored(NamedTuple):
    """A row with its scores; the larger the better, None where it was not among the candidates of a kind.

    Attributes:
        row: Its row id.
        score: By which it is ordered.
        vector: Cosine similarity.
        text: BM25.
    """

    row: int
    score: float
    vector: float | None = None
    text: float | None = None


def fused(near: Candidates, worded: Candidates) -> list[Scored]:
    """Return the rows of both, the best first.

    The scores of each kind are spread over 0 to 1 (least to most of the candidates), where a row that is not among them
    has 0, and added with the weights `VECTOR_WEIGHT` and 1 - `VECTOR_WEIGHT`.
    """
    vectors = dict(zip(near.rows, near.scores, strict=True))
    texts = dict(zip(worded.rows, worded.scores, strict=True))
    spread_vectors = dict(zip(near.rows, _spread(near.scores), strict=True))
    spread_texts = dict(zip(worded.rows, _spread(worded.scores), strict=True))
    rows = [
        Scored(
            row,
            VECTOR_WEIGHT * spread_vectors.get(row, 0.0) + (1 - VECTOR_WEIGHT) * spread_texts.get(row, 0.0),
            vectors.get(row),
            texts.get(row),
        )
        for row in dict.fromkeys((*near.rows, *worded.rows))
    ]
    return sorted(rows, key=lambda each: (-each.score, each.row))


def _spread(scores: Sequence[float]) -> list[float]:
    least, most = min(scores, default=0.0), max(scores, default=0.0)
    # Of one score alone nothing says whether it is good: it counts as the best.
    return [(score - least) / (most - least) if most > least else 1.0 for score in scores]
