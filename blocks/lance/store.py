"""The store: a chunk table, its manifest and its log of runs, which always agree.

Guarantees:

- A commit writes whole documents. A reader sees all chunks of a document as they were before the commit or as they are
  after it, each with its vector. `write` checks the vectors before it commits.
- Writing is idempotent, and several processes may write at once. No row is duplicated or lost. A commit that conflicts
  with another is tried again. If two processes write one document at the same time, the later one wins.
- The chunk table is committed before the manifest. If a writer is killed between the two, the next run finds the
  documents that do not agree (`reconcile`) and marks them stale, so that they are processed again.
- A run changes only documents of one source, and can be rolled back.
- A swap replaces the whole table by its staging table, in which all documents were embedded again. Readers see the old
  vectors until one commit replaces them. A swap can be rolled back too, and one that was killed can be repeated.
"""

from dataclasses import replace
from typing import Self

import pyarrow as pa

from prefect_ollama.blocks.documents import RUN_DONE, RUN_FAILED, RUN_ROLLED_BACK, Identity, Run
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import _migration as migration
from prefect_ollama.blocks.lance import _schema as schema
from prefect_ollama.blocks.lance import rollback
from prefect_ollama.blocks.lance._chunks import Chunks
from prefect_ollama.blocks.lance._columns import VECTOR
from prefect_ollama.blocks.lance._indices import ensure_indices
from prefect_ollama.blocks.lance._reader import listed
from prefect_ollama.blocks.lance._run_writer import RunWriter
from prefect_ollama.blocks.lance._runs import refuse_open_runs
from prefect_ollama.blocks.lance._write_lock import fsynced
from prefect_ollama.blocks.lance.commits import commit, create_table, drop
from prefect_ollama.blocks.lance.filters import by_size
from prefect_ollama.blocks.lance.opening import connect, open_tables
from prefect_ollama.blocks.lance.rollback import Undo
from prefect_ollama.blocks.lance.spec import StoreSpec


class Store(RunWriter):
    """A table with its manifest and log, open for reading, and for writing within a run.

    Several threads may use it, but only one may write at a time. A store must not be used in a forked process or
    pickled: send its `StoreSpec`, and open this in the other process.
    """

    @classmethod
    def open(cls, spec: StoreSpec, *, identity: Identity | None = None, create: bool = False) -> Self:
        """Open a table.

        Args:
            spec: Where it is.
            identity: Identity that its vectors must have; None accepts any, which is enough for reading.
            create: Create the tables if they do not exist; this needs an identity.

        Raises:
            TableMissing: The table does not exist.
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
            # A table of an earlier version gets the fingerprint of the first run that writes to it.
            if create and store.identity.fingerprint is None and identity.fingerprint is not None:
                store._keep_model(identity)
        return store

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

    def preview_roll_back(self, run_id: str, *, including_later: bool = False) -> Undo:
        """Return what `roll_back` would change, without changing it.

        Raises:
            TableError: It would be refused; the reasons are those of `roll_back`.
        """
        with self._explained():
            log, target = self._log.all(), self._log.find(run_id)
            undone = rollback.runs_to_undo(target, log, including_later=including_later)
            old_chunks, before = self._state_before(target)
            chunks = int(self._chunks.table.count_rows())
            if target.kind == rollback.SWAP:
                then = int(old_chunks.table.count_rows())
                return Undo(str(self.spec), (run_id,), "", swap=True, chunks_now=chunks, chunks_then=then)
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
        """Restore the documents of a run's source as they were before the run. The roll back is a run of its own.

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
            undone = rollback.runs_to_undo(target, self._log.all(), including_later=including_later)
            old_chunks, before = self._state_before(target)
            if target.kind == rollback.SWAP:
                return self._swap_back(target, as_run)
            self.begin_run(as_run, target.source, kind=rollback.KIND)
            try:
                self.reconcile()
                changed, added = rollback.differing(before, self._manifest.rows(target.source))
                self.remove(added)
                sizes = dict(zip(before["doc_id"].to_pylist(), before["chunks"].to_pylist(), strict=True))
                titles = dict(zip(before["doc_id"].to_pylist(), before["title"].to_pylist(), strict=True))
                for some in by_size(changed, sizes):
                    rows = schema.upgraded(old_chunks.rows_of(some), self._chunks.schema, titles)
                    self._chunks.replace(some, rows)
                    self._manifest.put_rows(rollback.only(before, some))
            except BaseException:
                self.end_run(status=RUN_FAILED)
                raise
            self._log.put(*(replace(run, status=RUN_ROLLED_BACK) for run in undone))
            return self.end_run(counts={"restored": len(changed), "removed": len(added)})

    def _state_before(self, target: Run) -> tuple[Chunks, pa.Table]:
        """Return the chunk table before a run, and the manifest rows of the run's source.

        `TableError` if the versions are gone, or have vectors of another model and the run is no swap.
        """
        chunks = self._chunks.at(target.chunks_before)
        if target.kind != rollback.SWAP:
            _refuse_other(self.spec, schema.stored_identity(chunks.schema, self.spec.table), self.identity)
        return chunks, self._manifest.at(target.documents_before).rows(target.source)

    def swap_in(self, run_id: str) -> Run:
        """Replace this table by its staging table (`StoreSpec.staging`), and drop that.

        Readers see the old vectors until this commits. The run can be rolled back.

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
                    refuse_open_runs(each._log.all())
                staging.reconcile()
                model = str(staging.identity.fingerprint or "")
                run = self._log.begin(
                    run_id, "", rollback.SWAP, self._chunks.version, self._manifest.version, model
                )
                try:
                    refuse_open_runs(each for each in self._log.all() if each.run_id != run_id)
                    # The chunk table first, as in every commit.
                    rows = staging._chunks.table
                    migration.rewrite(self.spec, self.spec.table, rows, rows.schema)
                    self.identity = staging.identity
                    rows = staging._manifest.table
                    migration.rewrite(self.spec, self.spec.documents_table, rows, rows.schema)
                    commit("The table cannot be indexed", lambda: ensure_indices(self._chunks.table))
                except BaseException:
                    self._logged_end(run, RUN_FAILED, {})
                    raise
                ended = self._logged_end(run, RUN_DONE, {"chunks": staging.stats().chunks})
                # Last, so that a swap that was killed can be repeated.
                drop(self.spec.staging)
                return ended

    def _swap_back(self, target: Run, as_run: str) -> Run:
        run = self._log.begin(as_run, "", rollback.KIND, self._chunks.version, self._manifest.version)
        self._chunks.restore(target.chunks_before)
        self._manifest.restore(target.documents_before)
        self.identity = schema.stored_identity(self._chunks.schema, self.spec.table)
        migration.rewrite_outdated(self.spec)
        commit("The table cannot be indexed", lambda: ensure_indices(self._chunks.table))
        self._log.put(replace(target, status=RUN_ROLLED_BACK))
        return self._logged_end(run, RUN_DONE, {})


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
            "which builds a new table and replaces this one at the end.",
        )
