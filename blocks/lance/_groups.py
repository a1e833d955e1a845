"""Groups of documents: as many as one filter can list, or as one commit should write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from prefect_ollama.blocks.documents import Document

# Ids in one SQL filter, so that its length is bounded.
IDS_A_FILTER: Final = 1_000

# Rows that one commit copies, moves or restores, about: 10,000 vectors of 768 floats are 30 MB of memory. Many small
# commits make the table slow (docs/architecture.md, "Choices and reasons").
ROWS_A_COMMIT: Final = 10_000


def groups(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the values in groups that a filter can list."""
    for start in range(0, len(values), IDS_A_FILTER):
        yield values[start : start + IDS_A_FILTER]


def by_size(doc_ids: Iterable[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Group documents so that each group has some thousands of chunks."""
    group: list[str] = []
    total = 0
    for doc_id in doc_ids:
        group.append(doc_id)
        total += max(1, sizes.get(doc_id, 0))
        if total >= ROWS_A_COMMIT:
            yield group
            group, total = [], 0
    if group:
        yield group


def move_groups(moves: Mapping[str, Document], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Group moves by size. Moves that take each other's ids are one group, or the first would overwrite the next."""
    targets = {new.doc_id for old, new in moves.items() if new.doc_id != old}
    chained = [
        old for old, new in moves.items() if old in targets or (new.doc_id != old and new.doc_id in moves)
    ]
    if chained:
        yield chained
    yield from by_size([old for old in moves if old not in set(chained)], sizes)
