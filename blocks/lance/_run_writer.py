"""Writing a store: runs, and the documents that they write, move and remove.

The guarantees are those of `store`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from prefect_ollama.blocks.documents import RUN_DONE, RUN_FAILED, STALE, Document, EmbeddedDocument, Run
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import _migration as migration
from prefect_ollama.blocks.lance._reader import Reader
from prefect_ollama.blocks.lance._runs import now, overlapping, refuse_open_runs
from prefect_ollama.blocks.lance._write_lock import WriteLock
from prefect_ollama.blocks.lance.arrow import chunk_table, counted, document_table, readdressed, stamped
from prefect_ollama.blocks.lance.filters import move_groups
from prefect_ollama.blocks.lance.rollback import SWAP
from prefect_ollama.blocks.lance.spec import StoreSpec

# Kind of a run that removes documents on request.
FORGET: Final = "forget"


class RunWriter(Reader):
    """The three tables of a store, open for reading, and for writing within a run."""

    def __init__(self, spec: StoreSpec) -> None:
        super().__init__(spec)
        self._run: Run | None = None
        self._guard = WriteLock(spec)

    def upgrade(self) -> list[str]:
        """Migrate the tables to the present schema; see `_migration.upgrade`."""
        return migration.upgrade(self.spec, self._guard)

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
                # A swap also logs its run before it looks for others. So at least one of the two runs sees the other.
                refuse_open_runs(each for each in self._log.all() if each.kind == SWAP)
                # Only a run that was killed, or still goes on, leaves documents that do not agree. A comparison of all
                # documents after each run would cost a pass over the table.
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

    def write(self, documents: Sequence[EmbeddedDocument]) -> None:
        """Write documents with all their chunks, and replace earlier versions of them.

        This takes one commit for the chunk table and one for the manifest, so write thousands of chunks at once. The
        call may be repeated.

        Raises:
            TableError: A document is invalid, and nothing was written; or the commit failed, and the documents are as
                they were.
        """
        with self._guard.held() as locked:
            run, time = self._open_run(), now()
            marked = [stamped(each, run.run_id, time) for each in documents]
            self._check_source(each.document for each in marked)
            rows = chunk_table(marked, self.identity, self._chunks.schema)
            if marked:
                self._chunks.replace([each.document.doc_id for each in marked], rows, locked=locked)
                self._manifest.put([each.document for each in marked])

    def record(self, documents: Sequence[Document]) -> None:
        """Write manifest rows only: of failed documents, or of documents whose chunks stay.

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
            # If this is killed between the two, the next run finds manifest rows without chunks, and marks them stale.
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
            refuse_open_runs([run for run in self._log.open() if run.source == source], source)
            self.begin_run(run_id, source, kind=FORGET)
            try:
                self.remove(doc_ids)
            except BaseException:
                self.end_run(status=RUN_FAILED)
                raise
            return self.end_run(counts={"removed": len(doc_ids)})

    def copy(self, copies: Mapping[str, Document]) -> None:
        """Store documents whose content equals that of stored documents, with their chunks and vectors.

        Args:
            copies: Manifest rows of the new documents, by the `doc_id` of the document that each copies, of any source.

        Raises:
            TableError: Two documents would get one id, or the commit failed.
        """
        self._readdress(copies, keep=True)

    def move(self, moves: Mapping[str, Document]) -> None:
        """Move documents to another path (which may change the id), and keep their chunks and vectors.

        Args:
            moves: The new manifest rows, by old `doc_id`.

        Raises:
            TableError: Two documents would get one id, or the commit failed.
        """
        self._readdress(moves, keep=False)

    def _readdress(self, targets: Mapping[str, Document], *, keep: bool) -> None:
        """Store the chunks of documents, by `doc_id`, under other rows; `keep` says whether the old documents stay."""
        with self._guard.held():
            run, time = self._open_run(), now()
            self._check_source(targets.values())
            document_table(list(targets.values()))  # refuses duplicate ids before anything is written
            sizes = {each.doc_id: each.chunks for each in self._manifest.documents()}
            for olds in move_groups(targets, sizes):
                given = {old: replace(targets[old], run_id=run.run_id, updated_at=time) for old in olds}
                rows = readdressed(self._chunks.rows_of(olds), given)
                news = counted(given.values(), rows)
                if keep:
                    # If the other document is incomplete, the next run reads the file of the new one.
                    news = [
                        new if new.chunks == each.chunks else replace(new, status=STALE)
                        for each, new in zip(given.values(), news, strict=True)
                    ]
                ids = [each.doc_id for each in news]
                gone = [] if keep else [old for old in olds if old not in ids]
                # One commit removes the old ids and adds the new ones, so no reader sees a document twice.
                self._chunks.replace([*ids, *gone], rows)
                self._manifest.put(news)
                self._manifest.remove(gone)

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
