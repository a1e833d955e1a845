"""The chunk table: all rows of a document are replaced in one commit, at a cost that hardly grows with the table.

LanceDB can delete rows within a merge (`when_not_matched_by_source_delete`), but then it keeps as many bytes in memory
as all vectors of the table have (0.40: 1.2 GB for 150,000 rows of 1,536 floats). So the merge that writes new rows
only empties the old ones, and the next commit deletes them. An emptied row has no document, no text and a zero vector,
and no search returns it.

A merge also keeps the keys of all rows in memory. So a writer that holds the lock adds the rows of new documents, which
needs no keys. Without the lock it merges: a merge that conflicts is tried again, but LanceDB commits an add in any
case, and rows that another writer added meanwhile would exist twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prefect_ollama.blocks.documents import Chunk, Region
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance.arrow import text_hash, tombstones
from prefect_ollama.blocks.lance.commits import ATTEMPTS, VersionedTable, merge, pause
from prefect_ollama.blocks.lance.filters import both, equals, groups, one_of
from prefect_ollama.blocks.lance.spec import StoreSpec

# Rows that a merge emptied; the next commit deletes them.
_EMPTIED: Final = equals("doc_id", "")

# Texts with characters outside ASCII: versions of Ollama differ in these.
_MARKED: Final = f"octet_length(text) > character_length(text) AND NOT ({_EMPTIED})"

# The type is needed to join it with other arrays.
_NO_IDS: Final = pa.array([], pa.string())


class Chunks(VersionedTable):
    """The chunk table of a store."""

    def __init__(self, spec: StoreSpec, table: Any) -> None:
        super().__init__(spec, table)
        # The documents that this object added since a version, while no other writer committed, and the latest version.
        # A lookup in that earlier version is cheaper: it needs time and memory for each row that is not indexed.
        self._base: Chunks | None = None
        self._added: set[str] = set()
        self._last = 0

    @property
    def schema(self) -> pa.Schema:
        return self.table.schema

    def replace(self, doc_ids: Sequence[str], rows: pa.Table, *, locked: bool = False) -> None:
        """Replace all rows of these documents.

        Args:
            rows: Their new rows, each with another id.
            locked: Whether this process holds the lock of the table (`WriteLock.held`). Only the cost depends on it,
                and how long a reader may see the rows of two writers.

        Raises:
            TableError: The commit failed; the documents are as they were.
        """
        self._commit(self._replace, doc_ids, rows, locked)

    def remove(self, doc_ids: Sequence[str]) -> None:
        for some in groups(doc_ids):
            where = one_of("doc_id", some)
            if self.table.count_rows(where):  # deleting nothing would make a version, too
                self._commit(self.table.delete, where)

    def sweep(self) -> None:
        """Delete emptied rows that a killed writer left."""
        self._commit(self.table.delete, _EMPTIED)

    def rows_of(self, doc_ids: Sequence[str]) -> pa.Table:
        """Return the rows of these documents, document by document in order of position."""
        parts = [self._rows_query(some).to_arrow() for some in groups(doc_ids)] or [self.schema.empty_table()]
        rows = pa.concat_tables([part.cast(self.schema) for part in parts])
        return rows.sort_by([("doc_id", "ascending"), ("position", "ascending")])

    def chunks_of(self, doc_id: str) -> list[Chunk]:
        """Return the chunks of a document in order of position."""
        names = [each.name for each in fields(Chunk) if each.name in self.schema.names]
        rows = self._rows_query([doc_id]).select(names).to_arrow().sort_by("position").to_pylist()
        return [
            Chunk(**{**row, "regions": tuple(Region(**region) for region in row["regions"])}) for row in rows
        ]

    def vectors_of(self, doc_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return vectors by the hash of the text that was embedded, shape (dimension,) each."""
        vectors: dict[str, NDArray[np.float32]] = {}
        for some in groups(doc_ids):
            for batch in self._rows_query(some).select(["text_hash", *self._embedded, "vector"]).to_batches():
                rows = batch["vector"].flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
                vectors.update(zip(_embedded_hashes(batch), rows, strict=True))
        return vectors

    def sample(self, count: int) -> list[tuple[str, NDArray[np.float32]]]:
        """Return embedded text and vector, shape (dimension,), of some rows.

        Half of them have characters outside ASCII, if there are such.
        """
        total = int(self.table.count_rows())
        wanted = min(count, total)
        places = [total * number // wanted for number in range(wanted)]
        columns = ["doc_id", "text", *self._embedded, "vector"]
        found = self.table.take_offsets(places).select(columns).to_arrow().to_pylist()
        marked = (
            self.table.search().where(_MARKED).select(columns).limit((count + 1) // 2).to_arrow().to_pylist()
        )
        rows = {
            row.get("embedded_text") or row["text"]: row["vector"]
            for row in [*marked, *found]
            if row["doc_id"]
        }
        return [(text, np.asarray(rows[text], np.float32)) for text in list(rows)[:count]]

    def texts(self) -> Iterator[list[str]]:
        """Yield the embedded texts of all rows, batch by batch."""
        columns = ["text", *self._embedded]
        for batch in self.table.search().where(f"NOT ({_EMPTIED})").select(columns).to_batches():
            texts = batch.column("text").to_pylist()
            embedded = batch.column("embedded_text").to_pylist() if self._embedded else texts
            yield [other or text for text, other in zip(texts, embedded, strict=True)]

    def held(self) -> dict[str, dict[str, int]]:
        """Return how many rows there are of each content of each document: by doc_id, by content_hash."""
        held: dict[str, dict[str, int]] = {}
        for batch in self.table.search().select(["doc_id", "content_hash"]).to_batches():
            counted = pa.table(batch).group_by(["doc_id", "content_hash"]).aggregate([([], "count_all")])
            for row in counted.to_pylist():
                contents = held.setdefault(row["doc_id"], {})
                contents[row["content_hash"]] = contents.get(row["content_hash"], 0) + row["count_all"]
        held.pop("", None)
        return held

    def places_of(self, doc_ids: Sequence[str]) -> list[tuple[str, str, str]]:
        """Return (doc_id, source, path) of these documents, as far as they have rows."""
        found: dict[str, tuple[str, str, str]] = {}
        for some in groups(doc_ids):
            query = self.table.search().where(both(one_of("doc_id", some), "position = 0"))
            for row in query.select(["doc_id", "source", "path"]).to_arrow().to_pylist():
                found[row["doc_id"]] = (row["doc_id"], row["source"], row["path"])
        return list(found.values())

    def _replace(self, doc_ids: Sequence[str], rows: pa.Table, locked: bool) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            if self._replace_once(doc_ids, rows, locked and attempt == 1):
                return
            pause(attempt)
        raise TableError(
            f"Other writers changed the same documents of table {self._spec.table!r} at each of {ATTEMPTS} attempts.",
            state="The documents are in the table. The next run repairs those that are there twice.",
            remedy="Let one run at a time work on a source.",
        )

    def _replace_once(self, doc_ids: Sequence[str], rows: pa.Table, locked: bool) -> bool:
        """Replace the documents' rows; return whether the table has no other rows of them."""
        before = self.version
        held = self._ids_at(doc_ids, before)
        if len(held.unique()) < len(held):  # two writers added them, without seeing the lock of each other
            self.remove(doc_ids)
            held = _NO_IDS
        stale = _without(held, rows["id"])
        if not len(rows) and not len(stale):
            return True
        if locked and not len(held):
            after = int(self.table.add(rows).version)
            if after == before + 1:
                self._note_added(doc_ids, before)
        else:
            parts = [rows, tombstones(stale, rows.schema)] if len(stale) else [rows]
            after = int(merge(self.table, "id", pa.concat_tables(parts)).version)
        if len(stale):
            self.table.delete(_EMPTIED)
        # Other writers may have committed rows of these documents after the lookup above. Deleting those by their ids
        # would be wrong, because they may have been written again since. Replacing all rows once more is always right.
        return after == before + 1 or len(self.at(after)._ids_of(doc_ids)) == len(rows)

    def _ids_at(self, doc_ids: Sequence[str], version: int) -> pa.Array:
        """Return the ids of the documents' rows at this version, which is the latest one."""
        if self._base is not None and self._last == version and self._added.isdisjoint(doc_ids):
            return self._base._ids_of(doc_ids)
        return self._ids_of(doc_ids)

    def _note_added(self, doc_ids: Sequence[str], before: int) -> None:
        if self._base is not None and self._last == before:
            self._added.update(doc_ids)
        else:
            self._base, self._added = self.at(before + 1), set()
        self._last = before + 1

    @property
    def _embedded(self) -> list[str]:
        """The column of embedded texts; empty for a table of an earlier version, which embedded `text`."""
        return [name for name in ("embedded_text",) if name in self.schema.names]

    def _rows_query(self, doc_ids: Sequence[str]) -> Any:
        return self.table.search().where(one_of("doc_id", doc_ids))

    def _ids_of(self, doc_ids: Sequence[str]) -> pa.Array:
        parts = [self._rows_query(some).select(["id"]).to_arrow()["id"] for some in groups(doc_ids)]
        return pa.concat_arrays([_NO_IDS, *(chunk for part in parts for chunk in part.chunks)])


def _embedded_hashes(batch: pa.RecordBatch) -> list[str]:
    hashes: list[str] = batch["text_hash"].to_pylist()
    if "embedded_text" not in batch.schema.names:
        return hashes
    embedded = batch["embedded_text"].to_pylist()
    return [text_hash(text) if text else known for known, text in zip(hashes, embedded, strict=True)]


def _without(ids: pa.Array, others: pa.ChunkedArray) -> pa.Array:
    return ids.filter(pc.invert(pc.is_in(ids, value_set=others)))
