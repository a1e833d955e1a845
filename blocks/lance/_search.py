"""Questions to the chunk table: by vector, by words, or by both.

Guarantees: a text that occurs in several places is one hit. The number of hits is the requested number, if the table
has enough different texts.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.documents import Hit, Place, Region
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance._candidates import (
    FUSED_ROWS,
    Candidates,
    Scored,
    by_vector,
    by_words,
    fused,
    weight_of_words,
)
from prefect_ollama.blocks.lance._fresh_scores import Fresh
from prefect_ollama.blocks.lance._words import asked_words
from prefect_ollama.blocks.lance.filters import both, one_of

Mode = Literal["vector", "text", "hybrid"]

# Columns whose values a hit has under the same names.
HIT_COLUMNS: Final = ("text", "path", "source", "page_from", "page_to", "heading", "doc_id", "position")
COLUMNS: Final = (*HIT_COLUMNS, "text_hash", "id", "regions")
LATER_COLUMNS: Final = ("title", "page_label_from", "page_label_to", "embedded_text")
# Rows marked for deletion (see `rows.tombstones`) may be among those found by words.
SPARE_ROWS: Final = 4
# Where the rows found have too few different texts, as many more are asked for. Most questions need one step.
DEEPER_FACTOR: Final = 4

# Chunks that a search returns at most: all hits are in memory, and LanceDB takes numbers of 32 bits.
MAX_LIMIT: Final = 1_000_000

# Other places that a hit lists.
MAX_PLACES: Final = 100

# The loss of a passage for each better passage close to it, in the standard deviations of `fused`. Any number from 1 to
# 3 gives nearly the same order; docs/searching.md has the figures.
CLOSE_LOSS: Final = 1.5

# Maximum distance of close passages on one page, in chunks. A page of a PDF has four or five chunks. A format without
# pages has one page of any length, on which passages far apart are independent of each other.
CLOSE_CHUNKS: Final = 4


def check_search(mode: Mode, limit: float) -> None:
    """Check what a search can be asked for, before nodes embed the question.

    Raises:
        ConfigurationError: There is no such mode, or the limit is below 1 or too high.
    """
    if mode not in get_args(Mode):
        raise ConfigurationError(
            f"A search has no mode {mode!r}.", remedy=f"Give one of {', '.join(map(repr, get_args(Mode)))}."
        )
    if not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise ConfigurationError(
            f"A search cannot return {limit!r} chunks.", remedy=f"Ask for 1 to {MAX_LIMIT:,}."
        )


# Hits by the hash of their text, the best first.
_Found = dict[str, Hit]


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """One question to the chunk table. `Reader.search` describes the other attributes.

    Attributes:
        table: The chunk table, at one version: row ids differ between versions.
        mode: `vector` by cosine similarity, `text` by BM25, `hybrid` by the scores of both, spread over pages
            (`spread`).
        fresh: The rows outside the table's indices; None if LanceDB itself searches them.

    Raises:
        ConfigurationError: The mode lacks its vector or text, or the limit is below 1.
    """

    table: Any
    vector: NDArray[np.float32] | None
    text: str
    limit: int
    mode: Mode
    where: str
    one_per_document: bool
    fresh: Fresh | None

    def __post_init__(self) -> None:
        check_search(self.mode, self.limit)
        if self.mode in ("vector", "hybrid") and self.vector is None:
            raise ConfigurationError(f"A search by {self.mode!r} needs the question's vector.")
        if self.mode in ("text", "hybrid") and not self.text.strip():
            raise ConfigurationError(f"A search by {self.mode!r} needs words.")

    def hits(self) -> list[Hit]:
        """Return the passages that answer best, the best first.

        Errors of LanceDB are not wrapped.
        """
        spare = self.limit + SPARE_ROWS
        count = max(spare, FUSED_ROWS) if self.mode == "hybrid" else spare
        while True:
            scored, everything = self._scored(count)
            found = self._different(scored)
            if len(found) >= self.limit or everything:
                return self._with_places(found)
            count *= DEEPER_FACTOR

    def _scored(self, count: int) -> tuple[list[Scored], bool]:
        """Return so many rows, the best first, and whether the table has no others."""
        table, text, where, fresh = self.table, self.text, self.where, self.fresh
        if self.mode == "text" or self.vector is None:
            worded = by_words(table, text, count, where, fresh=fresh)
            return [Scored(row, score, text=score) for row, score in _pairs(worded)], worded.all
        if self.mode == "vector":
            near = by_vector(table, self.vector, count, where, fresh=fresh)
            return [Scored(row, score, vector=score) for row, score in _pairs(near)], near.all
        # LanceDB works outside of Python's lock, so each has a core.
        with ThreadPoolExecutor(1) as staging:
            waiting = staging.submit(by_words, table, text, count, where, fresh=fresh)
            near = by_vector(table, self.vector, count, where, exact=False, fresh=fresh)
            worded = waiting.result()
        weight = weight_of_words(len(asked_words(text).split()))
        return fused(near, worded, weight), near.all and worded.all

    def _different(self, scored: Sequence[Scored]) -> _Found:
        """Read rows, the best first, until there are hits of as many different texts (and documents) as asked for."""
        spreading = self.mode == "hybrid"
        found: _Found = {}
        best: list[tuple[str, Hit]] = []
        # A read takes some 5 ms and each row of it 0.05 ms; spread hits seldom need more than twice as many rows.
        step = (2 * self.limit if spreading else self.limit) + SPARE_ROWS
        # A table that an earlier version made, and that nobody could write to since, lacks the later columns.
        columns = [*COLUMNS, *(name for name in LATER_COLUMNS if name in self.table.schema.names)]
        for start in range(0, len(scored), step):
            some = {each.row: each for each in scored[start : start + step]}
            rows = self.table.take_row_ids(list(some)).select(columns).with_row_id().to_arrow()
            for row in rows.to_pylist():
                if row["doc_id"]:
                    hit = _hit(row, some[row["_rowid"]])
                    known = found.setdefault(row["text_hash"], hit)
                    # Of equal ones the order is chance; so that an answer stays the same, the first place is taken.
                    if _order(hit) < _order(known):
                        found[row["text_hash"]] = hit
            best = sorted(found.items(), key=lambda each: _order(each[1]))
            if spreading:
                best = spread(best)
            if self.one_per_document:
                first: dict[str, tuple[str, Hit]] = {}
                for each in best:
                    first.setdefault(each[1].doc_id, each)
                best = list(first.values())
            following = scored[start + step : start + step + 1]
            # Rows that are not read yet come after the last hit only if none of them has a higher score.
            if len(best) >= self.limit and (
                not following or best[self.limit - 1][1].score >= following[0].score
            ):
                break
        return dict(best[: self.limit])

    def _with_places(self, found: _Found) -> list[Hit]:
        """Return the hits, each with the other places of its text."""
        if not found:
            return []
        same_texts = one_of("text_hash", found)
        # Counting rows by the index takes a quarter of the time of reading them, and most texts occur once.
        if int(self.table.count_rows(same_texts)) == len(found):
            return list(found.values())
        condition = both(same_texts, "doc_id != ''", self.where)
        columns = ["text_hash", "id", "source", "path", "page_from", "page_to"]
        rows = self.table.search().where(condition).select(columns).to_arrow().to_pylist()
        others: dict[str, list[Place]] = {text: [] for text in found}
        for row in rows:
            if row["id"] != found[row["text_hash"]].chunk_id:
                place = Place(row["source"], row["path"], row["page_from"], row["page_to"])
                others[row["text_hash"]].append(place)
        for places in others.values():
            places.sort(key=lambda place: (place.source, place.path, place.page_from))
        return [
            replace(hit, also_in=tuple(others[text][:MAX_PLACES]), copies=len(others[text]))
            for text, hit in found.items()
        ]


def _pairs(candidates: Candidates) -> Iterator[tuple[int, float]]:
    return zip(candidates.rows, candidates.scores, strict=True)


def _order(hit: Hit) -> tuple[float, str, str, int]:
    return -hit.score, hit.source, hit.path, hit.position


def _hit(row: dict[str, Any], scored: Scored) -> Hit:
    return Hit(
        **{name: row[name] for name in HIT_COLUMNS},
        **{name: row.get(name, "") for name in LATER_COLUMNS},
        score=scored.score,
        vector_score=scored.vector,
        text_score=scored.text,
        chunk_id=row["id"],
        regions=tuple(Region(**region) for region in row["regions"]),
    )


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
