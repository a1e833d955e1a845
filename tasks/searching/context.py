"""The passages around a hit: those before and after it, or its section."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from prefect_ollama.blocks.documents import Chunk, Hit
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance import Store

Around = int | Literal["section"]

# Between the headings of a path, as the chunker writes them.
BELOW = " > "


def check_around(around: Around | float) -> None:
    """Check how many passages around a hit are asked for.

    Raises:
        ConfigurationError: It is neither "section" nor a number from 0 on.
    """
    if around != "section" and (not isinstance(around, int) or around < 0):
        raise ConfigurationError(
            f"There are no {around!r} passages around a hit.", remedy='Give 0 or more, or "section".'
        )


def with_context(store: Store, hits: Sequence[Hit], around: Around) -> list[Hit]:
    """Return hits with the passages around them (`Hit.around`), in reading order, the hit included.

    Args:
        around: How many passages before and after, or "section" for those under the same heading and the headings below
            it.
    """
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
