"""Where the right passage stands, and what that is worth: shares of the first k, nDCG and recall of ten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import mean

from benchmarks.quality.sets import Question
from benchmarks.quality.vectors import MODEL, Embedder
from prefect_ollama.blocks.documents import Hit
from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.lance._search import Mode
from prefect_ollama.blocks.lance.filters import equals

FIRST = (1, 5, 10, 20)


def page_ranks(
    store: Store, questions: Sequence[Question], embedder: Embedder, mode: Mode, *, file_given: bool
) -> list[int]:
    """Return for each question the rank of the first passage on an evidence page; 0 where none is among 20."""
    vectors = embedder.embed([MODEL.query_prefix + each.text for each in questions])
    ranks = []
    for question, vector in zip(questions, vectors, strict=True):
        where = equals("path", question.file) if file_given else ""
        hits = store.search(vector, text=question.text, limit=max(FIRST), mode=mode, where=where)
        ranks.append(next((rank for rank, hit in enumerate(hits, 1) if _right(hit, question)), 0))
    return ranks


def _right(hit: Hit, question: Question) -> bool:
    return hit.path == question.file and any(
        hit.page_from <= page <= hit.page_to for page in question.relevant
    )


def shares(ranks: Sequence[int]) -> list[float]:
    """Share of questions whose rank is among the first 1, 5, 10 and 20; then the mean reciprocal rank."""
    found = [sum(0 < rank <= first for rank in ranks) / len(ranks) for first in FIRST]
    return [*found, mean(1 / rank if rank else 0.0 for rank in ranks)]


def document_scores(
    store: Store, questions: Sequence[Question], embedder: Embedder, mode: Mode
) -> tuple[float, float]:
    """Return nDCG@10 and recall@10, as BEIR computes them for judgements of 0 and 1."""
    vectors = embedder.embed([MODEL.query_prefix + each.text for each in questions])
    gains, recalls = [], []
    for question, vector in zip(questions, vectors, strict=True):
        hits = store.search(vector, text=question.text, limit=10, mode=mode)
        names = list(dict.fromkeys(hit.path for hit in hits))[:10]
        gain = sum(1 / math.log2(rank + 1) for rank, name in enumerate(names, 1) if name in question.relevant)
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(10, len(question.relevant)) + 1))
        gains.append(gain / ideal)
        recalls.append(len(question.relevant & set(names)) / len(question.relevant))
    return mean(gains), mean(recalls)
