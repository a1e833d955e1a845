"""The manifest: one row a document, whether its chunks are stored or it could not be read."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from prefect_ollama.blocks.documents import IN_TABLE, STALE, Document
from prefect_ollama.blocks.lance._schema import DOCUMENTS, upgraded
from prefect_ollama.blocks.lance.arrow import document_table, documents_from
from prefect_ollama.blocks.lance.commits import VersionedTable, merge
from prefect_ollama.blocks.lance.filters import equals, groups, one_of


class Manifest(VersionedTable):
    """The table of documents of a store."""

    called = "the manifest of table {}"

    def documents(self, source: str | None = None) -> list[Document]:
        """Return the documents, of one source or of all."""
        return documents_from(self.rows(source))

    def rows(self, source: str | None = None) -> pa.Table:
        """Return the rows as Arrow, of one source or of all."""
        query = self.table.search()
        rows = (query if source is None else query.where(equals("source", source))).to_arrow()
        return _with_possible_dates(upgraded(rows, DOCUMENTS))

    def put(self, documents: Sequence[Document]) -> None:
        """Write documents; each replaces the document with the same id."""
        self.put_rows(document_table(documents))

    def put_rows(self, rows: pa.Table) -> None:
        """Write rows unchanged; each replaces the row with the same id."""
        if len(rows):
            self._commit(merge, self.table, "doc_id", rows)

    def remove(self, doc_ids: Sequence[str]) -> None:
        for some in groups(doc_ids):
            self._commit(self.table.delete, one_of("doc_id", some))

    def mark_stale(self, doc_ids: Sequence[str]) -> None:
        for some in groups(doc_ids):
            self._commit(self.table.update, where=one_of("doc_id", some), values={"status": STALE})

    def disagreeing(self, held: Mapping[str, Mapping[str, int]]) -> tuple[list[str], list[str]]:
        """Compare the manifest with what the chunk table holds (`Chunks.held`).

        Returns:
            The documents whose row disagrees with the chunk table, and those that have chunks and no row.
        """
        columns = self.table.search().select(["doc_id", "status", "content_hash", "chunks"]).to_arrow()
        doubtful, known = [], set()
        for row in columns.to_pylist():
            known.add(row["doc_id"])
            stored = row["status"] in IN_TABLE and row["chunks"] > 0
            expected = {row["content_hash"]: row["chunks"]} if stored else {}
            # Stale documents are marked already.
            if row["status"] != STALE and held.get(row["doc_id"], {}) != expected:
                doubtful.append(row["doc_id"])
        return doubtful, [doc_id for doc_id in held if doc_id not in known]


def _with_possible_dates(rows: pa.Table) -> pa.Table:
    """Return rows without dates that Python does not have, such as one of the year 0.

    Early versions took them from metadata (the year 1 at UTC+14), and one of them made a whole table unreadable.
    """
    for place, field in enumerate(rows.schema):
        if field.nullable and pa.types.is_timestamp(field.type):
            first, last = (
                pa.scalar(each.replace(tzinfo=UTC), field.type) for each in (datetime.min, datetime.max)
            )
            dates = rows[field.name]
            possible = pc.and_(pc.greater_equal(dates, first), pc.less_equal(dates, last))
            dates = pc.if_else(possible, dates, pa.scalar(None, field.type))
            rows = rows.set_column(place, field, dates)
    return rows
