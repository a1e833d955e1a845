"""The store: a chunk table, its manifest and its log of runs, kept in step.

Guarantees:

- A commit brings whole documents. A reader sees all chunks of a document as they were before or as they
  are after, each with its vector; `write` checks the vectors before it commits.
- Writing is idempotent, and several processes may write at once: no row is doubled, none is lost, and
  who loses a commit against another tries again by itself. Of two that write one document at the same
  time the later wins.
- The chunk table is committed before the manifest. A writer killed between the two leaves documents in
  doubt; the next run finds them (`reconcile`) and marks them stale, so that they are processed again.
- A run changes the documents of one source only, and can be rolled back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import schema, searching
from prefect_ollama.blocks.lance.document import IN_TABLE, STALE, Document, EmbeddedDocument, Hit
from prefect_ollama.blocks.lance.filters import both, equals, one_of
from prefect_ollama.blocks.lance.rows import (
    chunk_ids,
    chunk_table,
    document_table,
    documents_from,
    stamped,
    tombstones,
)
from prefect_ollama.blocks.lance.runs import DONE, Run, RunLog, now, overlapping
from prefect_ollama.blocks.lance.spec import Identity, StoreSpec
from prefect_ollama.blocks.lance.tables import commit, connect, create_table, merge, open_table
from prefect_ollama.blocks.lance.upkeep import ensure_indices

P = ParamSpec("P")
T = TypeVar("T")

ROWS_A_COMMIT: Final = 10_000
IDS_A_FILTER: Final = 1_000
_GONE: Final = equals("doc_id", "")


class Store:
    """A table and what belongs to it, open for reading, and for writing within a run.

    It may be used from several threads, one at a time writing. It must not be used in a forked process,
    nor pickled: send the `StoreSpec` and open it there.
    """

    def __init__(self, spec: StoreSpec, chunks: Any, documents: Any, log: RunLog, identity: Identity) -> None:
        self.spec = spec
        self.identity = identity
        self._chunks = chunks
        self._documents = documents
        self._log = log
        self._run: Run | None = None
        self._lock = threading.RLock()

    @classmethod
    def open(cls, spec: StoreSpec, *, identity: Identity | None = None, create: bool = False) -> Store:
        """Open a table.

        Args:
            spec: Where it is.
            identity: What its vectors must be; None takes them as they are, which is enough for reading.
            create: Make the tables if they are not there; this needs an identity.

        Raises:
            TableError: There is no such table, it cannot be reached, or its vectors are of another
                identity.
        """
        connection = connect(spec)
        if create:
            if identity is None:
                raise TableError("A table cannot be made without the identity of its vectors.")
            # The chunk table comes last: where it is, all are.
            create_table(connection, spec, spec.runs_table, schema.RUNS)
            create_table(connection, spec, spec.documents_table, schema.DOCUMENTS)
            made = create_table(connection, spec, spec.table, schema.chunk_schema(identity))
            if schema.is_ours(made.schema):
                commit(f"Table {spec.table!r} cannot be indexed", lambda: ensure_indices(made))
        opened = [
            open_table(connection, spec, name) for name in (spec.table, spec.documents_table, spec.runs_table)
        ]
        chunks, documents, runs = opened
        if chunks is None or documents is None or runs is None:
            raise TableError(
                f"There is no table {spec.table!r} in {spec.uri!r}.",
                remedy="Check the URI and the name, or ingest something into it first.",
            )
        found = schema.stored_identity(chunks.schema, spec.table)
        if identity is not None:
            _refuse_other(spec, found, identity)
        return cls(spec, chunks, documents, RunLog(runs), found)

    # Runs

    def begin_run(self, run_id: str, source: str, *, kind: str = "ingest") -> Run:
        """Begin a run over one source. Read the manifest after this, not before: it may mark documents stale.

        Raises:
            TableError: A run is open in this store, or the log knows a run of this name.
        """
        with self._lock:
            if self._run is not None:
                raise TableError(f"Run {self._run.run_id!r} is open in this store.", remedy="End it first.")
            unended = self._log.close_abandoned()
            self._run = self._log.begin(
                run_id, source, kind, int(self._chunks.version), int(self._documents.version)
            )
            if unended:
                self.reconcile()
            return self._run

    def end_run(self, *, status: str = DONE, counts: Mapping[str, float] | None = None) -> Run:
        """End the open run and log what it did.

        Args:
            status: `done` or `failed`.
            counts: Figures to keep with it (documents, chunks, node-seconds, …).

        Raises:
            TableError: No run is open.
        """
        with self._lock:
            run = self._open_run()
            if overlapping(run, self._log.all()):
                self.reconcile()
            ended = replace(
                run,
                status=status,
                ended_at=now(),
                chunks_after=int(self._chunks.version),
                documents_after=int(self._documents.version),
                counts=dict(counts or {}),
            )
            self._log.put(ended)
            self._run = None
            return ended

    def runs(self) -> list[Run]:
        """Return all runs, the oldest first."""
        return self._log.all()

    # Writing

    def write(self, documents: Sequence[EmbeddedDocument]) -> None:
        """Put documents with all their chunks into the table, each in the place of what was there of it.

        One commit for the chunk table, one for the manifest; give thousands of chunks at once. It may be
        repeated.

        Raises:
            TableError: Something about a document is wrong, before anything was written; or the commit
                failed, and then the documents are as they were.
        """
        with self._lock:
            run, time = self._open_run(), now()
            marked = [stamped(each, run.run_id, time) for each in documents]
            self._check_source(each.document for each in marked)
            rows = chunk_table(marked, self.identity, self._chunks.schema)
            if marked:
                self._replace([each.document.doc_id for each in marked], rows)
                self._put([each.document for each in marked])

    def record(self, documents: Sequence[Document]) -> None:
        """Put manifest rows alone, of documents without chunks (failed ones) or whose chunks stay.

        Raises:
            TableError: A document comes twice, or the commit failed.
        """
        with self._lock:
            run, time = self._open_run(), now()
            self._check_source(documents)
            if documents:
                self._put([replace(each, run_id=run.run_id, updated_at=time) for each in documents])

    def remove(self, doc_ids: Iterable[str]) -> None:
        """Take documents out, chunks and manifest rows."""
        with self._lock:
            self._open_run()
            for some in _groups(list(doc_ids)):
                condition = one_of("doc_id", some)
                self._commit(self._chunks.delete, condition)
                self._commit(self._documents.delete, condition)

    def move(self, moves: Mapping[str, Document]) -> None:
        """Give documents another place (and with it, it may be, another id), keeping chunks and vectors.

        Args:
            moves: By old `doc_id`, the new manifest row.

        Raises:
            TableError: Two documents would get one id, or the commit failed.
        """
        with self._lock:
            run, time = self._open_run(), now()
            self._check_source(moves.values())
            for some in _by_size(moves, {each.doc_id: each.chunks for each in self.manifest(run.source)}):
                moved = {old: replace(moves[old], run_id=run.run_id, updated_at=time) for old in some}
                document_table(list(moved.values()))
                rows = self._chunk_rows(some)
                self._replace([*some, *(each.doc_id for each in moved.values())], _readdressed(rows, moved))
                counts = {row["values"]: row["counts"] for row in pc.value_counts(rows["doc_id"]).to_pylist()}
                self._put([replace(new, chunks=counts.get(old, 0)) for old, new in moved.items()])
                kept = {each.doc_id for each in moved.values()}
                self._commit(
                    self._documents.delete, one_of("doc_id", [old for old in moved if old not in kept])
                )

    def reconcile(self) -> list[str]:
        """Mark as stale the documents whose manifest row and chunks disagree; return their ids.

        A writer that was killed, or two that wrote one document at once, leave such behind. To mark one
        too many costs work, and never harm: it is processed again.
        """
        with self._lock:
            self._commit(self._chunks.delete, _GONE)
            recorded = (
                self._documents.search().select(["doc_id", "status", "content_hash", "chunks"]).to_arrow()
            )
            held = self._held()
            doubtful, known = [], set()
            for row in recorded.to_pylist():
                known.add(row["doc_id"])
                expected = {row["content_hash"]: row["chunks"]} if row["chunks"] else {}
                if row["status"] == STALE or (row["status"] not in IN_TABLE and row["doc_id"] not in held):
                    continue
                if row["status"] not in IN_TABLE or held.get(row["doc_id"], {}) != expected:
                    doubtful.append(row["doc_id"])
            for some in _groups(doubtful):
                self._commit(self._documents.update, where=one_of("doc_id", some), values={"status": STALE})
            unknown = [doc_id for doc_id in held if doc_id not in known]
            for some in _groups(unknown):
                self._put(self._documents_of_chunks(some))
            return doubtful + unknown

    # Reading

    def manifest(self, source: str | None = None) -> list[Document]:
        """Return the documents, of one source or of all."""
        query = self._documents.search()
        if source is not None:
            query = query.where(equals("source", source))
        return documents_from(query.to_arrow())

    def vectors_for(self, doc_ids: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors of these documents' chunks, by the hash of their text (`text_hash`).

        With them a changed document is stored again and only its changed chunks are embedded.
        """
        vectors: dict[str, NDArray[np.float32]] = {}
        for some in _groups(list(doc_ids)):
            query = self._chunks.search().where(one_of("doc_id", some)).select(["text_hash", "vector"])
            for batch in query.to_batches():
                matrix = batch["vector"].flatten().to_numpy(zero_copy_only=False)
                rows = matrix.reshape(len(batch), self.identity.dimension)
                vectors.update(zip(batch["text_hash"].to_pylist(), rows, strict=True))
        return vectors

    def search(
        self,
        vector: NDArray[np.float32] | None = None,
        *,
        text: str = "",
        limit: int = 5,
        mode: searching.Mode = "vector",
        source: str | None = None,
        where: str = "",
    ) -> list[Hit]:
        """Return the chunks that answer best, the best first.

        Args:
            vector: The question's vector, shape (dimension,).
            text: The question's words, for the modes `text` and `hybrid`.
            limit: How many at most.
            mode: `vector` (cosine), `text` (BM25) or `hybrid` (both, by reciprocal ranks).
            source: Only documents of this source.
            where: Only rows that this SQL filter lets through; build it with `filters`.

        Raises:
            ConfigurationError: The mode lacks its vector or its words.
            TableError: The table cannot answer, for example because the filter is wrong.
        """
        condition = both("" if source is None else equals("source", source), where)
        return self._read(
            lambda: searching.search(self._chunks, vector, text=text, limit=limit, mode=mode, where=condition)
        )

    # Within

    def _open_run(self) -> Run:
        if self._run is None:
            raise TableError(
                "No run is open.", state="Nothing was changed.", remedy="Call `begin_run` first."
            )
        return self._run

    def _check_source(self, documents: Iterable[Document]) -> None:
        source = self._open_run().source
        for each in documents:
            if not each.doc_id or each.source != source:
                raise TableError(
                    f"{each.path!r} is of source {each.source!r} with id {each.doc_id!r}; the run is over "
                    f"{source!r}, and every document has an id.",
                    state="Nothing of this batch was written.",
                    remedy="Write each source in a run of its own.",
                )

    def _replace(self, doc_ids: Sequence[str], rows: pa.Table) -> None:
        """Make the rows all there is of these documents, in one commit; take out emptied rows in another."""
        self._commit(self._replace_once, doc_ids, rows)

    def _replace_once(self, doc_ids: Sequence[str], rows: pa.Table) -> None:
        before = int(self._chunks.version)
        stale = _without(self._ids_of(doc_ids), rows["id"])
        if len(rows) or len(stale):
            parts = [rows, tombstones(stale, rows.schema)] if len(stale) else [rows]
            version = int(merge(self._chunks, "id", pa.concat_tables(parts)).version)
            if version != before + 1:
                # Others committed meanwhile, perhaps one of these documents: what was there of it when
                # this commit came after theirs is out of date. Looking at the table as of this commit,
                # only the later of two writers sees the other's rows.
                late = _without(self._ids_of(doc_ids, version), rows["id"])
                for some in _groups(late.to_pylist()):
                    self._chunks.delete(one_of("id", some))
        if len(stale):
            self._chunks.delete(_GONE)

    def _ids_of(self, doc_ids: Sequence[str], version: int | None = None) -> pa.Array:
        table = self._chunks if version is None else self._chunks_at(version)
        parts = [
            table.search().where(one_of("doc_id", some)).select(["id"]).to_arrow()["id"]
            for some in _groups(list(doc_ids))
        ]
        return pa.concat_arrays([_NO_IDS, *(chunk for part in parts for chunk in part.chunks)])

    def _chunks_at(self, version: int) -> Any:
        table = open_table(connect(self.spec), self.spec, self.spec.table)
        assert table is not None
        table.checkout(version)
        return table

    def _chunk_rows(self, doc_ids: Sequence[str]) -> pa.Table:
        parts = [
            self._chunks.search().where(one_of("doc_id", some)).to_arrow() for some in _groups(list(doc_ids))
        ]
        return pa.concat_tables(parts).cast(self._chunks.schema)

    def _held(self) -> dict[str, dict[str, int]]:
        """Return the chunks in the table, counted by document and content."""
        held: dict[str, dict[str, int]] = {}
        for batch in self._chunks.search().select(["doc_id", "content_hash"]).to_batches():
            counted = pa.table(batch).group_by(["doc_id", "content_hash"]).aggregate([([], "count_all")])
            for row in counted.to_pylist():
                contents = held.setdefault(row["doc_id"], {})
                contents[row["content_hash"]] = contents.get(row["content_hash"], 0) + row["count_all"]
        held.pop("", None)
        return held

    def _documents_of_chunks(self, doc_ids: Sequence[str]) -> list[Document]:
        found = (
            self._chunks.search()
            .where(both(one_of("doc_id", doc_ids), "position = 0"))
            .select(["doc_id", "source", "path"])
            .to_arrow()
        )
        places = {row["doc_id"]: row for row in found.to_pylist()}
        return [
            Document(doc_id, places[doc_id]["source"], places[doc_id]["path"], STALE, updated_at=now())
            for doc_id in places
        ]

    def _put(self, documents: Sequence[Document]) -> None:
        table = document_table(documents)
        self._commit(merge, self._documents, "doc_id", table)

    def _commit(self, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return commit(f"Table {self.spec.table!r} cannot be written", lambda: action(*args, **kwargs))

    def _read(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except (RuntimeError, ValueError, OSError) as error:
            text = " ".join(str(error).split())[:300]
            raise TableError(
                f"Table {self.spec.table!r} cannot answer: {text}.",
                state="It was not changed.",
                remedy="If a filter was given, check its SQL; else check the rights on the table.",
            ) from error


_NO_IDS: Final = pa.array([], pa.string())


def _without(ids: pa.Array, others: pa.ChunkedArray) -> pa.Array:
    return ids.filter(pc.invert(pc.is_in(ids, value_set=others)))


def _groups(values: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(values), IDS_A_FILTER):
        yield values[start : start + IDS_A_FILTER]


def _by_size(doc_ids: Iterable[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Group documents so that each group has some thousands of chunks."""
    group: list[str] = []
    total = 0
    for doc_id in doc_ids:
        group.append(doc_id)
        total += max(1, sizes.get(doc_id, 0))
        if total >= ROWS_A_COMMIT:
            yield group
            group, total = [], 0
    if group:
        yield group


def _readdressed(rows: pa.Table, moved: Mapping[str, Document]) -> pa.Table:
    """Return chunk rows as those of the documents they move to."""
    rows = rows.sort_by([("doc_id", "ascending"), ("position", "ascending")])
    olds = rows["doc_id"].to_pylist()
    hashes = rows["text_hash"].to_pylist()
    ids: list[str] = []
    while len(ids) < len(olds):
        start = len(ids)
        end = start
        while end < len(olds) and olds[end] == olds[start]:
            end += 1
        ids += chunk_ids(moved[olds[start]].doc_id, hashes[start:end])
    changed = {
        "id": ids,
        "doc_id": [moved[old].doc_id for old in olds],
        "source": [moved[old].source for old in olds],
        "path": [moved[old].path for old in olds],
        "run_id": [moved[old].run_id for old in olds],
    }
    for name, values in changed.items():
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(name), pa.array(values, pa.string()))
    return rows


def _refuse_other(spec: StoreSpec, found: Identity, wanted: Identity) -> None:
    differing = found.differences(wanted)
    if differing:
        listed = "; ".join(
            f"{name} {old!r} in the table, {new!r} now" for name, (old, new) in differing.items()
        )
        raise TableError(
            f"The vectors of table {spec.table!r} are not comparable with those asked for: {listed}.",
            state="The table was not changed.",
            remedy="Either store into another table, or embed all documents of this one again with "
            "`re_embed`, which builds the new table beside and swaps at the end.",
        )
