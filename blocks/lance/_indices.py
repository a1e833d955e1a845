"""The indices of a chunk table: over ids and hashes, over words, and in large tables over vectors."""

import math
from typing import Any, Final

from prefect_ollama.blocks.quantity import quantity

# Options of the index over `words`. `_words.indexed_words` has decided everything except word endings (`stem`).
INDEX_OF_WORDS: Final[dict[str, Any]] = {
    "base_tokenizer": "whitespace",
    "max_token_length": None,
    "lower_case": False,
    "ascii_folding": False,
    "remove_stop_words": False,
    "stem": True,
}

# Columns that have an index in a table of any size.
INDEXED: Final = ("doc_id", "text_hash", "words")

# Above this number of rows outside an index, indexing is due: the larger of both values counts. A process that asks one
# question by words reads each of them, at 0.02 ms a row of 110 words (see `_fresh_rows`).
UNINDEXED_ROWS: Final = 1_000
UNINDEXED_SHARE: Final = 0.02

# Below this size a search by vector without an index takes 20 to 80 ms, and is exact.
VECTOR_INDEX_ROWS: Final = 20_000

# An index learns its cells from the rows of its time. The cells of an index suit a table of the size that it had then,
# and not one that is four times as large.
RETRAIN_GROWTH: Final = 4

# Cells of the index over vectors, as a multiple of the square root of the rows: 91 at 20,000, 202 at 100,000, 640 at a
# million. With more cells, a search reads fewer rows for the same recall, and the cells take longer to learn.
CELLS_OF_ROOT: Final = 0.64

# Rows from which each cell is trained: four times as many take 1.5 times as long, and recall stays the same.
TRAINING_ROWS: Final = 64

# Memory for the rows of the training, which limits them for very long vectors.
TRAINING_BYTES: Final = 256 * 2**20


def vector_index(table: Any) -> tuple[str, int] | None:
    """Return the name of the index over the vectors, and how many rows it learned its cells from."""
    for index in table.list_indices():
        if index.columns == ["vector"]:
            learned = index.name.rpartition("_")[2]
            return index.name, int(learned) if learned.isdigit() else int(index.num_indexed_rows)
    return None


def cells_for(rows: int) -> int:
    """Return how many cells the index over so many vectors has."""
    return max(1, round(CELLS_OF_ROOT * math.sqrt(rows)))


def vector_index_config(table: Any, cells: int) -> Any:
    """Return the options of an index over the vectors with this many cells: IVF_SQ, 8 bits for each number."""
    from lancedb.index import IvfSq

    width = table.schema.field("vector").type.list_size * 4
    sample = max(16, min(TRAINING_ROWS, TRAINING_BYTES // (cells * width)))
    return IvfSq(distance_type="cosine", num_partitions=cells, sample_rate=sample)


def vector_index_due(table: Any) -> bool:
    """Return whether the table is too large to be searched without an index, or with its present index."""
    rows, index = int(table.count_rows()), vector_index(table)
    return rows >= VECTOR_INDEX_ROWS and (index is None or rows >= RETRAIN_GROWTH * index[1])


def ensure_indices(chunks: Any, *, rebuild: bool = False) -> list[str]:
    """Build the indices that every chunk table has, and return the columns that were indexed.

    There are trees over `doc_id`, by which documents are replaced, and over `text_hash`, by which a search finds other
    places of a text; and an index over `words`, which is built again if its options differ from `INDEX_OF_WORDS`. There
    is no index over `id`, because LanceDB would use it in merges, and would then not notice that two writers add one
    key (see `commits.merge`).
    """
    from lancedb.index import FTS, BTree

    wanted = {"doc_id": BTree(), "text_hash": BTree(), "words": FTS(**INDEX_OF_WORDS)}
    missing = [column for column in wanted if rebuild or not _has_index(chunks, column)]
    for column in missing:
        chunks.create_index(column, config=wanted[column], replace=True)
    return missing


def _has_index(chunks: Any, column: str) -> bool:
    found = [index for index in chunks.list_indices() if index.columns == [column]]
    if column != "words":
        return bool(found)
    options = [index.index_details or {} for index in found]
    return any(INDEX_OF_WORDS.items() <= each.items() for each in options)


def indices_due(table: Any) -> list[str]:
    """Return the reasons why the indices of a chunk table need maintenance, a phrase for each; empty if they do not."""
    rows = table.count_rows()
    allowed = max(UNINDEXED_ROWS, int(rows * UNINDEXED_SHARE))
    reasons = [
        f"{quantity(index.num_unindexed_rows, 'row is', 'rows are')} not in the index of {', '.join(index.columns)}"
        for index in table.list_indices()
        if index.num_unindexed_rows > allowed
    ]
    if not all(_has_index(table, column) for column in INDEXED):
        reasons.append("an index is missing or has other options")
    if vector_index_due(table):
        reasons.append(f"{rows} vectors ask for a new index")
    return reasons
