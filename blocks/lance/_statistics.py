"""Statistics of a store, read without texts or vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect_ollama.blocks.lance.commits import files_of


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of a store.

    Attributes:
        chunks: Rows of the chunk table.
        documents: Rows of the manifest by status.
        data_bytes: Size of the chunk table's files and indices, without old versions.
    """

    chunks: int
    documents: Mapping[str, int]
    data_bytes: int


def gather(chunks: Any, manifest: Any) -> Stats:
    """Return the statistics of a chunk table and its manifest."""
    # Grouped by Arrow, so that a large manifest makes no Python objects.
    counted = (
        manifest.search().select(["status"]).to_arrow().group_by("status").aggregate([([], "count_all")])
    )
    return Stats(
        chunks=int(chunks.count_rows()),
        documents={row["status"]: row["count_all"] for row in counted.to_pylist()},
        data_bytes=files_of(chunks).data_bytes,
    )
