"""Store embedded bundles. A run has one writer, which commits many whole documents at a time."""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from prefect import task
from prefect.runtime import task_run

from prefect_ollama.blocks.documents import Document, EmbeddedDocument
from prefect_ollama.blocks.lance import Store
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.embed import EmbeddedBundle
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque

# Chunks after which the writer commits. A commit of some thousand chunks costs little more than one of ten, and a
# thousand small commits slow every reader.
COMMIT_CHUNKS = 4096

# Seconds after which a slow run commits its finished documents, so that the table fills during the run.
COMMIT_SECONDS = 15.0


class Writer:
    """Collects embedded bundles and commits them in large pieces.

    Args:
        store: The table, within a run.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._documents: list[EmbeddedDocument] = []
        self._failed: list[Document] = []
        self._kept: list[Path] = []
        self._chunks = 0
        self._since = time.monotonic()

    def add(self, bundle: EmbeddedBundle, kept: Path | None = None) -> None:
        """Add a bundle, and commit if there are enough chunks or enough time has passed.

        Args:
            kept: File with the result that Prefect persisted. The result is deleted after the bundle was stored.
        """
        self._documents += bundle.documents
        self._failed += bundle.failed
        self._kept += [kept] if kept else []
        self._chunks += sum(len(each.chunks) for each in bundle.documents)
        if self._chunks >= COMMIT_CHUNKS or time.monotonic() - self._since >= COMMIT_SECONDS:
            self.flush()

    def add_failed(self, rows: Sequence[Document]) -> None:
        """Add files that failed; they are committed with the next bundle."""
        self._failed += rows

    def flush(self) -> None:
        """Commit all bundles that were added."""
        if self._documents or self._failed:
            documents, failed = self._documents, self._failed
            store_documents(Opaque(lambda: self._commit(documents, failed)), self._chunks)
            # After the commit: a run that is killed before it finds the results again.
            for path in self._kept:
                with contextlib.suppress(OSError):
                    path.unlink()
        self._documents, self._failed, self._kept, self._chunks = [], [], [], 0
        self._since = time.monotonic()

    def _commit(self, documents: list[EmbeddedDocument], failed: list[Document]) -> None:
        if documents:
            self._store.write(documents)
        if failed:
            # A file that failed has no chunks in the table, even if an earlier version of it had some: answers from it
            # would cite what the file does not say any more.
            self._store.remove([row.doc_id for row in failed])
            self._store.record(failed)


def _name() -> str:
    return f"store {quantity(task_run.parameters['chunks'], 'chunk')}"


@task(name="store", task_run_name=_name, **UNCACHED)
def store_documents(commit: Opaque[Callable[[], None]], chunks: int) -> None:
    """Commit documents.

    Args:
        chunks: Number of their chunks, for the name of the task run.

    Raises:
        TableError: The commit failed; the documents are as they were before.
    """
    commit.content()
