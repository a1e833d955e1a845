"""Results of bundles, which Prefect keeps so that they can stand in for the work after a crash.

Guarantees: what is stored in the table is not kept beside; what no run came back for goes after `RESULTS_KEPT`. That
holds for folders, Prefect's own and those of `LocalFileSystem` blocks; Prefect deletes none, and in an object store
only the store's own rules do.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.filesystems import LocalFileSystem

from prefect_ollama.tasks.embed import KEY, RESULTS_KEPT


class KeptResults:
    """The results that Prefect keeps for the current flow run's tasks."""

    def __init__(self) -> None:
        context = FlowRunContext.get()
        storage = context.result_store.result_storage if context else None
        self._folder: Path | None = None
        if isinstance(storage, LocalFileSystem) and storage.basepath:
            self._folder = Path(storage.basepath).expanduser().absolute()

    def file(self, state: State[Any]) -> Path | None:
        """The file in which the result of a task run is kept, None where it is in none."""
        key = getattr(getattr(state.data, "metadata", None), "storage_key", None)
        return self._folder / key if self._folder is not None and key else None

    def sweep(self) -> None:
        """Delete what is too old to stand in for anything."""
        oldest = time.time() - RESULTS_KEPT.total_seconds()
        for path in self._folder.glob(f"{KEY}*") if self._folder is not None else ():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
