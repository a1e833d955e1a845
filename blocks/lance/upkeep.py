"""Upkeep of the chunk table: the indices it needs for its size, and few files."""

from __future__ import annotations

from typing import Any


def ensure_indices(chunks: Any) -> list[str]:
    """Make the indices that every chunk table has, whatever its size; return the columns indexed now.

    A tree over `doc_id`, by which documents are replaced, and the words of `text`. The words are cut the
    ICU way, because Chinese, Japanese and Thai put no spaces between them. There is none over `id`:
    LanceDB would merge through it, and then misses that two writers add one key (see `tables.merge`).
    """
    from lancedb.index import FTS, BTree

    indexed = {column for index in chunks.list_indices() for column in index.columns}
    wanted = {"doc_id": BTree(), "text": FTS(base_tokenizer="icu", remove_stop_words=False)}
    missing = [column for column in wanted if column not in indexed]
    for column in missing:
        chunks.create_index(column, config=wanted[column])
    return missing
