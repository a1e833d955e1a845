"""Results of bundles, which Prefect persists so that a run after a crash does not repeat the work.

Guarantees: a result is deleted once its bundle is in the table, and a result whose bundle is not, after `RESULTS_KEPT`.
This holds for folders: Prefect's own, and those of `LocalFileSystem` blocks. Prefect itself deletes no results, and in
an object store only the store's own rules do. Results are pickles, which can run code, so a run reads no result from a
folder that others can write to, and no result that another user wrote.
"""

import contextlib
import time
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.filesystems import LocalFileSystem
from prefect.settings import get_current_settings
from prefect.tasks import Task

from prefect_ollama.blocks.errors import FolderNotPrivate
from prefect_ollama.blocks.private_files import check_folder, is_ours, make_folder, private_folder
from prefect_ollama.tasks.prefect_state.logging import run_logger
from prefect_ollama.tasks.prefect_state.task_options import KEY, RESULTS_KEPT, UNCACHED

P = ParamSpec("P")
R = TypeVar("R")


class PersistedResults:
    """The results that Prefect persists for the tasks of the current flow run."""

    def __init__(self) -> None:
        context = FlowRunContext.get()
        storage = context.result_store.result_storage if context else None
        self._folder: Path | None = None
        self._trusted = True
        if isinstance(storage, LocalFileSystem) and storage.basepath:
            self._folder = Path(storage.basepath).expanduser().absolute()
            try:
                _close_to_others(self._folder)
            except (FolderNotPrivate, OSError) as error:
                self._trusted = False
                run_logger().warning(
                    "Results of bundles are not kept, because other users can write to their folder, and could let the "
                    "run execute code: %s After a kill, vectors are only in the cache.",
                    error,
                )

    def of(self, task: Task[P, R]) -> Task[P, R]:
        """Return the task, without persisted results if another user could have written them."""
        return task if self._trusted else task.with_options(**UNCACHED)

    def file(self, state: State[Any]) -> Path | None:
        """Return the file with the result of a task run; None if there is none."""
        key = getattr(getattr(state.data, "metadata", None), "storage_key", None)
        return self._folder / key if self._folder is not None and key else None

    def sweep(self) -> None:
        """Delete the results that are older than `RESULTS_KEPT`."""
        oldest = time.time() - RESULTS_KEPT.total_seconds()
        for path in self._folder.glob(f"{KEY}*") if self._folder is not None else ():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def _close_to_others(folder: Path) -> None:
    """Close the folder to other users, and delete results that another user wrote."""
    if folder == Path(get_current_settings().results.local_storage_path).expanduser().absolute():
        private_folder(folder)
    else:  # the folder of a block, whose owner chooses its rights
        make_folder(folder)
        check_folder(folder)
    for path in folder.glob(f"{KEY}*"):
        if not is_ours(path.lstat()):
            path.unlink()
            run_logger().warning("Deleted the result %s: another user wrote it.", path)
