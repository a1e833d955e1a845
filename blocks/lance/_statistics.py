"""What a store holds, in figures, read without touching text or vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect_ollama.blocks.lance._indices import vector_index
from prefect_ollama.blocks.lance.commits import files_of


@dataclass(frozen=True, slots=True)
class Stats:
    """A store in figures.

    Attributes:
        chunks: Rows of the chunk table.
        documents: Rows of the manifest by status.
        version: Latest version of the chunk table.
        data_bytes: Size of the chunk table's files and indices, old versions left out.
        files: Files ("fragments") the rows are in.
        unindexed: Rows that the index of this column does not cover yet, by column; they are found all
            the same, at a higher cost.
        vectors_indexed: Whether there is an index over the vectors; small tables do without.
    """

    chunks: int
    documents: Mapping[str, int]
    version: int
    data_bytes: int
    files: int
    unindexed: Mapping[str, int]
    vectors_indexed: bool


def gather(chunks: Any, manifest: Any) -> Stats:
    """Return the figures of a chunk table and its manifest."""
    files = files_of(chunks)
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
