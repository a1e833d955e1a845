"""Statistics of a store, read without texts or vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect_ollama.blocks.lance._indices import vector_index
from prefect_ollama.blocks.lance.commits import files_of


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of a store.

    Attributes:
        chunks: Rows of the chunk table.
        documents: Rows of the manifest by status.
        version: Latest version of the chunk table.
        data_bytes: Size of the chunk table's files and indices, without old versions.
        files: Number of files ("fragments") with rows.
        unindexed: Number of rows outside the index of a column, by column. They are found too, at a higher cost.
        vectors_indexed: Whether there is an index over the vectors; small tables need none.
    """

    chunks: int
    documents: Mapping[str, int]
    version: int
    data_bytes: int
    files: int
    unindexed: Mapping[str, int]
    vectors_indexed: bool


def gather(chunks: Any, manifest: Any) -> Stats:
    """Return the statistics of a chunk table and its manifest."""
    files = files_of(chunks)
    # Grouped by Arrow, so that a large manifest makes no Python objects.
    counted = (
        manifest.search().select(["status"]).to_arrow().group_by("status").aggregate([([], "count_all")])
    )
    return Stats(
        chunks=int(chunks.count_rows()),
        documents={row["status"]: row["count_all"] for row in counted.to_pylist()},
        version=int(chunks.version),
        data_bytes=files.data_bytes,
        files=files.count,
        unindexed={", ".join(each.columns): int(each.num_unindexed_rows) for each in chunks.list_indices()},
        vectors_indexed=vector_index(chunks) is not None,
    )
