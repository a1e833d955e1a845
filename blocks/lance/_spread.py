"""Passages close together on one page: the best one keeps its place, the others come after other pages' passages.

A statement or a section takes several passages, whose scores are alike. Together they would take the places of the
other pages that may answer, though a reader of one of them sees the others on the same page, or asks for neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from prefect_ollama.blocks.documents import Hit

# What a passage loses for each better one close to it, in the standard deviations of `_fusion`. Any number from 1 to 3
# gives nearly the same order; docs/searching.md has the figures.
CLOSE_LOSS: Final = 1.5

# Passages on one page are close if they are at most so many chunks apart. A page of a PDF has four or five chunks. A
# format without pages has one page of any length, on which passages far apart are independent of each other.
CLOSE_CHUNKS: Final = 4


def spread(hits: Iterable[tuple[str, Hit]]) -> list[tuple[str, Hit]]:
    """Return the hits with their lowered scores, the best first.

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
