"""The store: a chunk table, its manifest and its log of runs, which always agree.

Guarantees:

- A commit writes whole documents. A reader sees all chunks of a document as they were before the commit or as they are
  after it, each with its vector. `write` checks the vectors before it commits.
- Writing is idempotent, and several processes may write at once. No row is duplicated or lost. A commit that conflicts
  with another is tried again. If two processes write one document at the same time, the later one wins.
- The chunk table is committed before the manifest. If a writer is killed between the two, the next run finds the
  documents that do not agree (`reconcile`) and marks them stale, so that they are processed again.
- A run changes only documents of one source, and can be rolled back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from prefect_ollama.blocks.documents import (
    RUN_DONE,
    RUN_FAILED,
    RUN_ROLLED_BACK,
    STALE,
    Document,
    EmbeddedDocument,
    Identity,
    Run,
)
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import _migration as migration
from prefect_ollama.blocks.lance import _schema as schema
from prefect_ollama.blocks.lance import maintenance, rollback, swap
from prefect_ollama.blocks.lance._columns import VECTOR
from prefect_ollama.blocks.lance._fsync import fsynced
from prefect_ollama.blocks.lance._indices import ensure_indices
from prefect_ollama.blocks.lance._reader import Reader, listed
from prefect_ollama.blocks.lance._runs import now, overlapping, refuse_open_runs
from prefect_ollama.blocks.lance._write_lock import WriteLock
from prefect_ollama.blocks.lance.arrow import chunk_table, counted, document_table, readdressed, stamped
from prefect_ollama.blocks.lance.commits import commit, connect, create_table, open_tables
from prefect_ollama.blocks.lance.maintenance import Maintenance
from prefect_ollama.blocks.lance.rollback import Undo
from prefect_ollama.blocks.lance.spec import StoreSpec

# Rows that one commit copies, moves or restores, about: 10,000 vectors of 768 floats are 30 MB of memory. Many small
# commits make the table slow (docs/architecture.md, "Choices and reasons").
ROWS_A_COMMIT: Final = 10_000

# Kind of a run that removes documents on request.
FORGET: Final = "forget"


class Store(Reader):
    """A table with its manifest and log, open for reading, and for writing within a run.

    Several threads may use it, but only one may write at a time. It must not be used in a forked process or pickled:
    send the `StoreSpec`, and open that.
    """

    def __init__(self, spec: StoreSpec) -> None:
        super().__init__(spec)
        self._run: Run | None = None
        self._guard = WriteLock(spec)

    @classmethod
    def open(cls, spec: StoreSpec, *, identity: Identity | None = None, create: bool = False) -> Store:
        """Open a table.

        Args:
            spec: Where it is.
            identity: Identity that its vectors must have; None accepts any, which is enough for reading.
            create: Create the tables if they do not exist; this needs an identity.

        Raises:
            TableMissing: There is no such table.
            TableError: It cannot be reached, or its vectors are of another identity.
        """
        if create:
            if identity is None:
                raise TableError("A table cannot be made without the identity of its vectors.")
            if open_tables(spec) is None:
                _create(spec, identity)
        store = cls(spec)
        if identity is not None:
            _refuse_other(spec, store.identity, identity)
            store.upgrade()
            if create and store.identity.fingerprint is None and identity.fingerprint is not None:
                store._keep_model(identity)
        return store

    def upgrade(self) -> list[str]:
        """Migrate the tables to the present schema, if an earlier version of this project wrote them (`migration`).

        Returns:
            The names of the tables that were rewritten.

        Raises:
            TableError: A run is open on the table, another process upgrades it for longer than a minute, or it cannot
                be written.
        """
        return migration.upgrade(self.spec, self._guard)

    def _keep_model(self, identity: Identity) -> None:
        """Store fingerprint and options in a table of an earlier version, unless another process was first."""

        def write() -> None:
            found = schema.stored_identity(self._chunks.schema, self.spec.table)
            if found.fingerprint is None:
                self._chunks.table.update_field_metadata(
                    {"path": VECTOR, "metadata": schema.model_metadata(identity)}
                )

        with self._guard.held():
            commit(f"The fingerprint of table {self.spec.table!r} cannot be kept", write)
        self.identity = schema.stored_identity(self._chunks.schema, self.spec.table)

    # Runs

    def begin_run(self, run_id: str, source: str, *, kind: str = "ingest", model: str = "") -> Run:
        """Begin a run over one source. Read the manifest only after this call, which may mark documents stale.

        Args:
            run_id: Name of the run.
            source: The source whose documents it changes.
            kind: Kind of the run, for the log.
            model: Name of the model that embeds, for the log.

        Raises:
            TableError: A run is open in this store, the log knows a run of this name, or the table is being
                replaced (`swap_in`).
        """
        with self._guard.held():
            if self._run is not None:
                raise TableError(f"Run {self._run.run_id!r} is open in this store.", remedy="End it first.")
            self._refuse_swapped()
            self.upgrade()
            unended = self._log.close_abandoned()
            run = self._log.begin(run_id, source, kind, self._chunks.version, self._manifest.version, model)
            try:
                # A swap also logs its run before it looks for others. So at least one of the two sees the other.
                refuse_open_runs(self.spec, self._log.all(), swap.KIND)
                # Only a run that was killed, or still goes on, leaves documents that do not agree. A look at all of
                # them after each run would cost a pass over the table.
                if unended:
                    self.reconcile()
            except BaseException:
                self._logged_end(run, RUN_FAILED, {})
                raise
            self._run = run
            return run

    def end_run(self, *, status: str = RUN_DONE, counts: Mapping[str, float] | None = None) -> Run:
        """End the open run, and log its result.

        Args:
            status: `done` or `failed`.
            counts: Figures to log with it (documents, chunks, node-seconds, …).

        Raises:
            TableError: No run is open.
        """
        with self._guard.held():
            run = self._open_run()
            # Two runs that wrote at the same time may have written one document.
            if overlapping(run, self._log.all()):
                self.reconcile()
            ended = self._logged_end(run, status, counts or {})
            self._run = None
            return ended

    def preview_roll_back(self, run_id: str, *, including_later: bool = False) -> Undo:
        """Return what `roll_back` would change, without changing it.

        Raises:
            TableError: It would be refused; the reasons are those of `roll_back`.
        """
        with self._explained():
            log, target = self._log.all(), self._log.find(run_id)
            chunks = int(self._chunks.table.count_rows())
            if target.kind == swap.KIND:
                swap.refuse_undone(target)
                swap.refuse_lost_versions(target, log, self._chunks.versions(), self._manifest.versions())
                then = int(self._chunks.at(target.chunks_before).table.count_rows())
                return Undo(str(self.spec), (run_id,), "", swap=True, chunks_now=chunks, chunks_then=then)
            undone = rollback.runs_to_undo(target, log, including_later=including_later)
            self._chunks.at(target.chunks_before)
            before = self._manifest.at(target.documents_before).rows(target.source)
            changed, added = rollback.differing(before, self._manifest.rows(target.source))
            return Undo(
                str(self.spec),
                tuple(run.run_id for run in undone),
                target.source,
                len(changed),
                len(added),
                chunks_now=chunks,
            )

    def roll_back(self, run_id: str, as_run: str, *, including_later: bool = False) -> Run:
        """Restore the documents of a run's source as they were before the run. This is a run of its own.

        Args:
            run_id: The run to undo.
            as_run: Name of the run that undoes it.
            including_later: Also undo later runs of the same source.

        Returns:
            The run that undid it. Its counts say how many documents were restored and removed.

        Raises:
            TableError: There is no such run, it is open or rolled back already, there are later runs of its source,
                or the versions from before it were deleted.
        """
        with self._guard.held():
            self._log.close_abandoned()
            target = self._log.find(run_id)
            if target.kind == swap.KIND:
                return self._swap_back(target, as_run)
            undone = rollback.runs_to_undo(target, self._log.all(), including_later=including_later)
            old_chunks = self._chunks.at(target.chunks_before)
            before = self._manifest.at(target.documents_before).rows(target.source)
            _refuse_other(
                self.spec, schema.stored_identity(old_chunks.schema, self.spec.table), self.identity
            )
            self.begin_run(as_run, target.source, kind=rollback.KIND)
            try:
                self.reconcile()
                changed, added = rollback.differing(before, self._manifest.rows(target.source))
                self.remove(added)
                sizes = dict(zip(before["doc_id"].to_pylist(), before["chunks"].to_pylist(), strict=True))
                titles = dict(zip(before["doc_id"].to_pylist(), before["title"].to_pylist(), strict=True))
                for some in by_size(changed, sizes):
                    self._chunks.replace(some, old_chunks.upgraded_rows_of(some, self._chunks.schema, titles))
                    self._manifest.put_rows(rollback.only(before, some))
            except BaseException:
                self.end_run(status=RUN_FAILED)
                raise
            self._log.put(*(replace(run, status=RUN_ROLLED_BACK) for run in undone))
            return self.end_run(counts={"restored": len(changed), "removed": len(added)})

    # Writing

    def write(self, documents: Sequence[EmbeddedDocument]) -> None:
        """Write documents with all their chunks, and replace earlier versions of them.

        This takes one commit for the chunk table and one for the manifest, so write thousands of chunks at once. It may
        be repeated.

        Raises:
            TableError: A document is invalid, and nothing was written; or the commit failed, and the documents are as
                they were.
        """
        with self._guard.held() as alone:
            run, time = self._open_run(), now()
            marked = [stamped(each, run.run_id, time) for each in documents]
            self._check_source(each.document for each in marked)
            rows = chunk_table(marked, self.identity, self._chunks.schema)
            if marked:
                self._chunks.replace([each.document.doc_id for each in marked], rows, alone=alone)
                self._manifest.put([each.document for each in marked])

    def record(self, documents: Sequence[Document]) -> None:
        """Write only manifest rows, of documents without chunks (failed ones) or whose chunks stay.

        Raises:
            TableError: A document comes twice, or the commit failed.
        """
        with self._guard.held():
            run, time = self._open_run(), now()
            self._check_source(documents)
            self._manifest.put([replace(each, run_id=run.run_id, updated_at=time) for each in documents])

    def remove(self, doc_ids: Iterable[str]) -> None:
        """Remove documents: their chunks, then their manifest rows."""
        with self._guard.held():
            self._open_run()
            doomed = list(doc_ids)
            self._chunks.remove(doomed)
            self._manifest.remove(doomed)

    def forget(self, run_id: str, source: str, doc_ids: Sequence[str]) -> Run:
        """Remove documents of one source, in a run of its own, which `roll_back` undoes.

        Chunks are removed before manifest rows. If it is killed between the two, the next run marks the documents
        stale, and they can be removed again.

        Raises:
            TableError: A run over the source is open, or a commit failed.
        """
        with self._guard.held():
            busy = [run.run_id for run in self._log.open() if run.source == source]
            if busy:
                raise TableError(
                    f"Run {busy[0]!r} over {source!r} is still open.",
                    state="Nothing was changed.",
                    remedy="Wait for its end, or stop it.",
                )
            self.begin_run(run_id, source, kind=FORGET)
            try:
                self.remove(doc_ids)
            except BaseException:
                self.end_run(status=RUN_FAILED)
                raise
            return self.end_run(counts={"removed": len(doc_ids)})

    def copy(self, copies: Mapping[str, Document]) -> None:
        """Store documents whose content equals that of others, with the chunks and vectors of those.

        Args:
            copies: Manifest rows of the new documents, by the `doc_id` of the document that each copies, of any source.

        Raises:
            TableError: Two documents would get one id, or the commit failed.
        """
        with self._guard.held():
            run, time = self._open_run(), now()
            self._check_source(copies.values())
            document_table(list(copies.values()))  # refuses ids that come twice, before anything is written
            sizes = {each.doc_id: each.chunks for each in self._manifest.documents()}
            for olds in by_size(copies, sizes):
                copied = {old: replace(copies[old], run_id=run.run_id, updated_at=time) for old in olds}
                rows = readdressed(self._chunks.rows_of(olds), copied)
                self._chunks.replace([each.doc_id for each in copied.values()], rows)
                self._manifest.put(
                    [
                        # If the other document is incomplete, the next run reads the file of the new one.
                        new if new.chunks == each.chunks else replace(new, status=STALE)
                        for each, new in zip(copied.values(), counted(copied.values(), rows), strict=True)
                    ]
                )

    def move(self, moves: Mapping[str, Document]) -> None:
        """Move documents to another path (which may change the id), and keep their chunks and vectors.

        Args:
            moves: The new manifest rows, by old `doc_id`.

        Raises:
            TableError: Two documents would get one id, or the commit failed.
        """
        with self._guard.held():
            run, time = self._open_run(), now()
            self._check_source(moves.values())
            document_table(list(moves.values()))
            sizes = {each.doc_id: each.chunks for each in self._manifest.documents(run.source)}
            for olds in _move_groups(moves, sizes):
                moved = {old: replace(moves[old], run_id=run.run_id, updated_at=time) for old in olds}
                rows = self._chunks.rows_of(olds)
                news = [each.doc_id for each in moved.values()]
                readdressed_rows = readdressed(rows, moved)
                self._chunks.replace(list(dict.fromkeys([*olds, *news])), readdressed_rows)
                self._manifest.put(counted(moved.values(), readdressed_rows))
                self._manifest.remove([old for old in olds if old not in news])

    def reconcile(self) -> list[str]:
        """Mark as stale the documents whose manifest row and chunks do not agree, and return their ids.

        A killed writer leaves such documents, and so do two writers of one document. A document that is marked by
        mistake is only processed again.
        """
        with self._guard.held():
            self._chunks.sweep()
            doubtful, unknown = self._manifest.disagreeing(self._chunks.held())
            self._manifest.mark_stale(doubtful)
            self._manifest.put(
                [Document(*place, STALE, updated_at=now()) for place in self._chunks.places_of(unknown)]
            )
            return doubtful + unknown

    # Embedding anew

    def swap_in(self, run_id: str) -> Run:
        """Replace this table by its staging table (`StoreSpec.staging`), and drop that.

        Readers see the old vectors until this commits. The run can be rolled back.

        Args:
            run_id: Name of this run.

        Raises:
            TableMissing: There is no staging table.
            TableError: A run is open on one of the tables, or a commit failed.
        """
        with self._guard.held():
            staging = Store(self.spec.staging)
            for each in (self, staging):
                each.upgrade()
            with staging._guard.held():
                for each in (self, staging):
                    each._log.close_abandoned()
                    refuse_open_runs(each.spec, each._log.all())
                staging.reconcile()
                model = str(staging.identity.fingerprint or "")
                run = self._log.begin(
                    run_id, "", swap.KIND, self._chunks.version, self._manifest.version, model
                )
                try:
                    refuse_open_runs(self.spec, [each for each in self._log.all() if each.run_id != run_id])
                    swap.overwrite(self.spec, self.spec.table, staging._chunks.table)
                    self.identity = staging.identity
                    swap.overwrite(self.spec, self.spec.documents_table, staging._manifest.table)
                    commit("The table cannot be indexed", lambda: ensure_indices(self._chunks.table))
                except BaseException:
                    self._logged_end(run, RUN_FAILED, {})
                    raise
                ended = self._logged_end(run, RUN_DONE, {"chunks": staging.stats().chunks})
                swap.drop(self.spec.staging)
                return ended

    def _swap_back(self, target: Run, as_run: str) -> Run:
        refuse_open_runs(self.spec, self._log.all())
        swap.refuse_undone(target)
        swap.refuse_lost_versions(target, self._log.all(), self._chunks.versions(), self._manifest.versions())
        run = self._log.begin(as_run, "", rollback.KIND, self._chunks.version, self._manifest.version)
        self._chunks.restore(target.chunks_before)
        self._manifest.restore(target.documents_before)
        self.identity = schema.stored_identity(self._chunks.schema, self.spec.table)
        migration.rewrite_outdated(self.spec)
        commit("The table cannot be indexed", lambda: ensure_indices(self._chunks.table))
        self._log.put(replace(target, status=RUN_ROLLED_BACK))
        return self._logged_end(run, RUN_DONE, {})

    # Upkeep

    def maintain(
        self,
        *,
        force: bool = False,
        keep: timedelta = maintenance.KEEP,
        memory: int = maintenance.MEMORY,
        timeout: float = maintenance.TIMEOUT,
    ) -> Maintenance:
        """Run the maintenance that the tables' statistics ask for; call it after every run. See `maintain`.

        Args:
            force: Do all of it, even if it is not due.
            keep: How long versions are kept; runs older than this cannot be rolled back afterwards.
            memory: Bytes of memory that it may use at most.
            timeout: Seconds after which it is stopped.

        Raises:
            TableError: It needed more memory or time, or the table cannot be written.
        """
        return maintenance.maintain(self.spec, force=force, keep=keep, memory=memory, timeout=timeout)

    # Within

    def _open_run(self) -> Run:
        if self._run is None:
            raise TableError(
                "No run is open.", state="Nothing was changed.", remedy="Call `begin_run` first."
            )
        return self._run

    def _logged_end(self, run: Run, status: str, counts: Mapping[str, float]) -> Run:
        ended = replace(
            run,
            status=status,
            ended_at=now(),
            chunks_after=self._chunks.version,
            documents_after=self._manifest.version,
            counts=dict(counts),
        )
        self._log.put(ended)
        return ended

    def _check_source(self, documents: Iterable[Document]) -> None:
        source = self._open_run().source
        self._refuse_swapped()
        for each in documents:
            if not each.doc_id or each.source != source:
                raise TableError(
                    f"{each.path!r} is of source {each.source!r} with id {each.doc_id!r}; the run is over "
                    f"{source!r}, and every document has an id.",
                    state="Nothing of this batch was written.",
                    remedy="Write each source in a run of its own.",
                )


def by_size(doc_ids: Iterable[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
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


def _move_groups(moves: Mapping[str, Document], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Group moves by size. Moves that take each other's ids are one group, or the first would overwrite the next."""
    targets = {new.doc_id for old, new in moves.items() if new.doc_id != old}
    chained = [
        old for old, new in moves.items() if old in targets or (new.doc_id != old and new.doc_id in moves)
    ]
    if chained:
        yield chained
    yield from by_size([old for old in moves if old not in set(chained)], sizes)


def _create(spec: StoreSpec, identity: Identity) -> None:
    """Create the tables that do not exist. The chunk table comes last, so if it exists, all do."""
    connection = connect(spec)
    with fsynced(spec):
        create_table(connection, spec, spec.runs_table, schema.RUNS)
        create_table(connection, spec, spec.documents_table, schema.DOCUMENTS)
        chunks = create_table(connection, spec, spec.table, schema.chunk_schema(identity))
        if schema.is_ours(chunks.schema):
            commit(f"Table {spec.table!r} cannot be indexed", lambda: ensure_indices(chunks))


def _refuse_other(spec: StoreSpec, found: Identity, wanted: Identity) -> None:
    differing = found.differences(wanted)
    if differing:
        raise TableError(
            f"The vectors of table {spec.table!r} are not comparable with those asked for: "
            f"{listed(differing)}.",
            state="The table was not changed.",
            remedy="Go back to the model, options and version of the server that the table was made with; or store "
            "into another table; or embed all documents of this one again with `re_embed` (`prefect-ollama re-embed`), "
            "which builds the new table beside and swaps at the end.",
        )
