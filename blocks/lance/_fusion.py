"""The order of hybrid search: scores by vector and by words are fused, and passages of one page are spread."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, pstdev
from typing import Final, NamedTuple

from prefect_ollama.blocks.documents import Hit
from prefect_ollama.blocks.lance._candidates import Candidates

# Number of rows of each search that are fused: a row that is far down both lists may come first in their union.
FUSED_ROWS: Final = 150

# Weight of the words' scores for a short question; the vectors' have the rest. docs/searching.md has the figures
# by which these three numbers were chosen.
TEXT_WEIGHT: Final = 0.45

# Maximum number of different words in a short question. Many words of a longer one say how to answer, and are in no
# passage that answers, but BM25 counts rare ones most. So the weight of words decreases with the number of words in a
# question.
SHORT_QUESTION_WORDS: Final = 11

# The loss of a passage for each better passage close to it, in the standard deviations of `fused`. Any number from 1 to
# 3 gives nearly the same order; docs/searching.md has the figures.
CLOSE_LOSS: Final = 1.5

# Maximum distance of close passages on one page, in chunks. A page of a PDF has four or five chunks. A format without
# pages has one page of any length, on which passages far apart are independent of each other.
CLOSE_CHUNKS: Final = 4


class Scored(NamedTuple):
    """A row: its row id, the score by which it is ordered, its cosine similarity, and its BM25.

    The larger the better. None if that search did not find the row.
    """

    row: int
    score: float
    vector: float | None = None
    text: float | None = None


def weight_of_words(words: int) -> float:
    """Return the weight of the word scores, from 0 to 1, for a question with this number of different words."""
    return TEXT_WEIGHT * min(1.0, SHORT_QUESTION_WORDS / max(1, words))


def fused(near: Candidates, worded: Candidates, text_weight: float = TEXT_WEIGHT) -> list[Scored]:
    """Return the rows of both, the best first.

    Cosines and BM25 are of unlike scales, and how far apart they lie depends on the question. So each score counts by
    how many standard deviations it is above the mean of all these rows. A row that words did not find has a BM25 of 0
    where all that hold a word are known, so that one passage with a rare word stands out; otherwise, and by vector, a
    row that is not among the candidates has the least score of these.

    Args:
        near: Rows by vector.
        worded: Rows by words.
        text_weight: What the words' scores count; the vectors' have the rest of 1.
    """
    vectors = dict(zip(near.rows, near.scores, strict=True))
    texts = dict(zip(worded.rows, worded.scores, strict=True))
    rows = list(dict.fromkeys((*near.rows, *worded.rows)))
    by_vector = _standard(rows, vectors, min(near.scores, default=0.0))
    by_text = _standard(rows, texts, 0.0 if worded.all else min(worded.scores, default=0.0))
    scored = [
        Scored(row, (1 - text_weight) * vector + text_weight * text, vectors.get(row), texts.get(row))
        for row, vector, text in zip(rows, by_vector, by_text, strict=True)
    ]
    return sorted(scored, key=lambda each: (-each.score, each.row))


def _standard(rows: Sequence[int], scores: Mapping[int, float], absent: float) -> list[float]:
    """Return the standard score (https://en.wikipedia.org/wiki/Standard_score) of each row."""
    values = [scores.get(row, absent) for row in rows]
    mean, deviation = fmean(values) if values else 0.0, pstdev(values) if values else 0.0
    return [(value - mean) / (deviation or 1.0) for value in values]


def spread(hits: Iterable[tuple[str, Hit]]) -> list[tuple[str, Hit]]:
    """Return the hits with lowered scores for passages that are close to a better one on their page, the best first.

    A statement or a section takes several passages, whose scores are alike. Together they would take the places of the
    other pages that may answer, though a reader of one of them sees the others on the same page, or asks for
    neighbours.

    Args:
        hits: Each with its key, the best first.
    """
    better: dict[tuple[str, int], list[int]] = defaultdict(list)
    left: list[tuple[str, Hit]] = []
    for key, hit in hits:
        page = better[hit.doc_id, hit.page_from]
        close = sum(abs(position - hit.position) <= CLOSE_CHUNKS for position in page)
        page.append(hit.position)
        left.append((key, replace(hit, score=hit.score - CLOSE_LOSS * close) if close else hit))
    return sorted(left, key=lambda each: -each[1].score)
