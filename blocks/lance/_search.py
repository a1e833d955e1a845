"""Questions to the chunk table: by vector, by words, or by both.

Guarantees: a text is one hit, wherever else it stands too, and there are as many hits as were asked for if the table
has so many different texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.documents import Hit, Place, Region
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance._candidates import Candidates, by_vector, by_words
from prefect_ollama.blocks.lance._damage import failure
from prefect_ollama.blocks.lance._fresh_rows import Fresh
from prefect_ollama.blocks.lance._fusion import DEPTH, Scored, fused, weight_of_words
from prefect_ollama.blocks.lance._spread import spread
from prefect_ollama.blocks.lance._words import asked_words
from prefect_ollama.blocks.lance.filters import both, one_of
from prefect_ollama.blocks.lance.spec import StoreSpec
from prefect_ollama.blocks.secrets import harmless

Mode = Literal["vector", "text", "hybrid"]

COLUMNS: Final = (
    "text", "text_hash", "path", "source", "page_from", "page_to", "heading", "doc_id", "id", "position", "regions"
)  # fmt: skip
# A table that an earlier version made, and that nobody could write to since, lacks these.
LATER_COLUMNS: Final = ("title", "page_label_from", "page_label_to", "embedded_text")
# Rows marked for deletion (see `rows.tombstones`) may be among those found by words.
SPARE: Final = 4
# Where the rows found have too few different texts, as many more are asked for. Most questions need one step.
DEEPER: Final = 4

# Other places that a hit lists.
PLACES: Final = 100


def search(
    table: Any,
    vector: NDArray[np.float32] | None,
    *,
    text: str,
    limit: int,
    mode: Mode,
    where: str,
    one_per_document: bool = False,
    fresh: Fresh | None = None,
    spec: StoreSpec | None = None,
) -> list[Hit]:
    """Return the passages that answer best, the best first.

    Args:
        table: The chunk table, at one version: row ids of another one are others.
        vector: The question's vector, shape (dimension,), or None for a search by words.
        text: The question's words; a search by vector does without.
        limit: How many passages to return at most.
        mode: `vector` by cosine similarity, `text` by BM25, `hybrid` by the scores of both
            (`_fusion`), spread over pages (`_spread`).
        where: SQL filter, built with `filters`, or empty.
        one_per_document: Whether only the best passage of each document is returned.
        fresh: The rows outside the table's indices; None where LanceDB shall search them.
        spec: The table's place, with which an error says more.

    Raises:
        ConfigurationError: The mode lacks its vector or text, or the limit is below 1.
        TableError: The table cannot answer, for example because the filter is wrong.
    """
    if limit < 1:
        raise ConfigurationError(f"A search for {limit} chunks finds none.", remedy="Ask for 1 or more.")
    if mode in ("vector", "hybrid") and vector is None:
        raise ConfigurationError(f"A search by {mode!r} needs the question's vector.")
    if mode in ("text", "hybrid") and not text.strip():
        raise ConfigurationError(f"A search by {mode!r} needs words.")
    try:
        found = _found(table, vector, text, limit, mode, where, one_per_document, fresh)
        return _with_places(table, found, where)
    except (RuntimeError, ValueError, OSError) as error:
        raise failure(
            "The search failed",
            error,
            spec,
            state="The table was not changed.",
            remedy="If a filter was given, check its SQL.",
        ) from harmless(error)


# Hits by the hash of their text, the best first.
_Found = dict[str, Hit]


def _found(
    table: Any,
    vector: NDArray[np.float32] | None,
    text: str,
    limit: int,
    mode: Mode,
    where: str,
    one_per_document: bool,
    fresh: Fresh | None,
) -> _Found:
    """Return hits of different texts, as many as asked for or there are."""
    count = max(limit + SPARE, DEPTH) if mode == "hybrid" else limit + SPARE
    while True:
        scored, everything = _scored(table, vector, text, count, mode, where, fresh)
        found = _different(table, scored, limit, one_per_document, spreading=mode == "hybrid")
        if len(found) >= limit or everything:
            return found
        count *= DEEPER


def _scored(
    table: Any,
    vector: NDArray[np.float32] | None,
    text: str,
    count: int,
    mode: Mode,
    where: str,
    fresh: Fresh | None,
) -> tuple[list[Scored], bool]:
    """Return rows, the best first, and whether the table has no others."""
    if mode == "text" or vector is None:
        worded = by_words(table, text, count, where, fresh=fresh)
        return [Scored(row, score, text=score) for row, score in _pairs(worded)], worded.all
    if mode == "vector":
        near = by_vector(table, vector, count, where, fresh=fresh)
        return [Scored(row, score, vector=score) for row, score in _pairs(near)], near.all
    # LanceDB works outside of Python's lock, so each has a core.
    with ThreadPoolExecutor(1) as staging:
        waiting = staging.submit(by_words, table, text, count, where, fresh=fresh)
        near = by_vector(table, vector, count, where, exact=False, fresh=fresh)
        worded = waiting.result()
    weight = weight_of_words(len(asked_words(text).split()))
    return fused(near, worded, weight), near.all and worded.all


def _pairs(candidates: Candidates) -> Iterator[tuple[int, float]]:
    return zip(candidates.rows, candidates.scores, strict=True)


def _different(
    table: Any, scored: Sequence[Scored], limit: int, one_per_document: bool, *, spreading: bool
) -> _Found:
    """Read rows, the best first, until there are hits of as many different texts (and documents) as asked for.

    Args:
        table: The chunk table.
        scored: Its rows, the best first.
        limit: How many hits at most.
        one_per_document: Whether only the best hit of each document counts.
        spreading: Whether hits close to a better one on the same page lose score.
    """
    found: _Found = {}
    best: list[tuple[str, Hit]] = []
    # A read takes some 5 ms and each row of it 0.05 ms; spread hits seldom need more than twice as many rows.
    columns, step = _columns(table), (2 * limit if spreading else limit) + SPARE
    for start in range(0, len(scored), step):
        some = {each.row: each for each in scored[start : start + step]}
        for row in table.take_row_ids(list(some)).select(columns).with_row_id().to_arrow().to_pylist():
            if row["doc_id"]:
                hit = _hit(row, some[row["_rowid"]])
                known = found.setdefault(row["text_hash"], hit)
                # Of equal ones the order is chance; so that an answer stays the same, the first place is taken.
                if _order(hit) < _order(known):
                    found[row["text_hash"]] = hit
        best = sorted(found.items(), key=lambda each: _order(each[1]))
        if spreading:
            best = spread(best)
        if one_per_document:
            first: dict[str, tuple[str, Hit]] = {}
            for each in best:
                first.setdefault(each[1].doc_id, each)
            best = list(first.values())
        following = scored[start + step : start + step + 1]
        # Rows that are not read yet come after the last hit only if none of them has a higher score.
        if len(best) >= limit and (not following or best[limit - 1][1].score >= following[0].score):
            break
    return dict(best[:limit])


def _columns(table: Any) -> list[str]:
    """Columns of a hit that the table has."""
    present = table.schema.names
    return [*COLUMNS, *(name for name in LATER_COLUMNS if name in present)]


def _with_places(table: Any, found: _Found, where: str) -> list[Hit]:
    """Return the hits, each with the other places of its text."""
    if not found:
        return []
    same_texts = one_of("text_hash", found)
    # To count rows by the index takes a quarter of the time that it takes to read them, and most texts stand once.
    if int(table.count_rows(same_texts)) == len(found):
        return list(found.values())
    condition = both(same_texts, "doc_id != ''", where)
    columns = ["text_hash", "id", "source", "path", "page_from", "page_to"]
    rows = table.search().where(condition).select(columns).to_arrow().to_pylist()
    others: dict[str, list[Place]] = {text: [] for text in found}
    for row in rows:
        if row["id"] != found[row["text_hash"]].chunk_id:
            place = Place(row["source"], row["path"], row["page_from"], row["page_to"])
            others[row["text_hash"]].append(place)
    for places in others.values():
        places.sort(key=lambda place: (place.source, place.path, place.page_from))
    return [
        replace(hit, also_in=tuple(others[text][:PLACES]), copies=len(others[text]))
        for text, hit in found.items()
    ]


def _order(hit: Hit) -> tuple[float, str, str, int]:
    return -hit.score, hit.source, hit.path, hit.position


def _hit(row: dict[str, Any], scored: Scored) -> Hit:
    return Hit(
        text=row["text"],
        path=row["path"],
        source=row["source"],
        page_from=row["page_from"],
        page_to=row["page_to"],
        heading=row["heading"],
        score=scored.score,
        vector_score=scored.vector,
        text_score=scored.text,
        doc_id=row["doc_id"],
        chunk_id=row["id"],
        position=row["position"],
        regions=tuple(Region(**region) for region in row["regions"]),
        **{name: row.get(name, "") for name in LATER_COLUMNS},
    )
