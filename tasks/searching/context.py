"""The passages around a hit: those before and after it, or its section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from prefect_ollama.blocks.documents import Chunk, Hit
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance import Store

Around = int | Literal["section"]

# Between the headings of a path, as the chunker writes them.
BELOW = " > "


def with_context(store: Store, hits: Sequence[Hit], around: Around) -> list[Hit]:
    """Return hits with the passages around them (`Hit.around`), in reading order, the hit included.

    Args:
        around: How many passages before and after, or "section" for those under the same heading and the headings below
            it.

    Raises:
        ConfigurationError: The number is below 0.
    """
    if isinstance(around, int) and around < 0:
        raise ConfigurationError(f"There are no {around} passages around a hit.", remedy="Give 0 or more.")
    if not around:
        return list(hits)
    # Several hits of one document are usual, so each document is read once.
    documents = {doc_id: store.chunks_of(doc_id) for doc_id in {hit.doc_id for hit in hits}}
    return [replace(hit, around=tuple(_around(hit, documents[hit.doc_id], around))) for hit in hits]


def _around(hit: Hit, chunks: Sequence[Chunk], around: Around) -> Sequence[Chunk]:
    if around != "section":
        return [each for each in chunks if abs(each.position - hit.position) <= around]
    # Only passages next to each other: another section may have the same heading.
    place = next((at for at, each in enumerate(chunks) if each.position == hit.position), None)
    if place is None:  # the document was changed meanwhile
        return []
    first = last = place
    while first > 0 and _within(chunks[first - 1].heading, hit.heading):
        first -= 1
    while last + 1 < len(chunks) and _within(chunks[last + 1].heading, hit.heading):
        last += 1
    return chunks[first : last + 1]


def _within(heading: str, section: str) -> bool:
    return heading == section or (bool(section) and heading.startswith(section + BELOW))
