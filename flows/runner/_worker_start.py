"""Start the processes of a run's Dask workers: which process they are forked from, and what they import.

Guarantees: nothing is imported from the working folder, unless it is on the `sys.path` of this process. The user's
script is not run again.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker, spawn
from typing import Any, Final

import dask.config
from distributed.utils import get_mp_context

# Dask's setting for the start method of worker processes.
_METHOD = "distributed.worker.multiprocessing-method"

# How Dask names the processes of its workers (`distributed.nanny.WorkerProcess.start`).
_WORKER: Final = "Dask Worker process (from Nanny)"

# Keys of `multiprocessing.spawn.get_preparation_data` that make a new process import the main module.
_MAIN: Final = ("init_main_from_name", "init_main_from_path")

# Keeps the working folder off `sys.path` (https://docs.python.org/3/using/cmdline.html#envvar-PYTHONSAFEPATH).
_SAFE_PATH: Final = "PYTHONSAFEPATH"

_lock = threading.Lock()
_starting = threading.Lock()
_leaving_out = 0
_preparation_data = spawn.get_preparation_data


def start_fork_server() -> None:
    """Start a process from which worker processes are forked, and which imports their modules while the flow goes on.

    Without it each worker would import them itself, which takes 2 to 3 CPU-seconds. None of these modules starts
    threads, which a fork would lose. LanceDB does, so it is imported only when a table is opened.
    """
    if sys.platform != "linux":
        return
    if dask.config.get(_METHOD) == "spawn":
        dask.config.set({_METHOD: "forkserver"})
        get_mp_context()  # type: ignore[no-untyped-call]  # its first call sets Dask's own list of preloads
        multiprocessing.set_forkserver_preload(["prefect_ollama.flows.ingest"])
    if dask.config.get(_METHOD) == "forkserver":
        with _working_folder_off_path():
            resource_tracker.ensure_running()  # this call unblocks SIGINT, so it comes before the block below
            with _interrupts_ignored():
                forkserver.ensure_running()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let processes that this thread starts meanwhile, and their children, ignore Ctrl-C.

    A terminal sends Ctrl-C to all of its processes. Only the flow's process should handle Ctrl-C, and then stop the
    workers.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _working_folder_off_path() -> Iterator[None]:
    """Let Python processes that start meanwhile import nothing from the working folder.

    `multiprocessing` starts its helpers with `python -c`, which puts that folder first on `sys.path`: in `/tmp`, a
    `lancedb.py` of another user would run. Workers get the `sys.path` of this process afterwards.
    """
    if os.environ.get(_SAFE_PATH):
        yield
        return
    # Not through `os.environ`: another thread may iterate over it, and would fail when an entry is removed. Only one
    # thread at a time: of two threads, the first to end would remove the variable for the other's processes.
    with _starting:
        os.putenv(_SAFE_PATH, "1")
        try:
            yield
        finally:
            os.unsetenv(_SAFE_PATH)


@contextmanager
def without_main() -> Iterator[None]:
    """Let Dask workers that start meanwhile not import the main module. Contexts may overlap.

    `multiprocessing` lets a new process import the user's script as `__mp_main__`. A script without
    `if __name__ == "__main__":` would start its flow in every worker. Dask's workers do not need the script, because
    cloudpickle sends its objects by value. Other processes that start meanwhile import it as usual.
    """
    global _leaving_out
    with _lock:
        _leaving_out += 1
        spawn.get_preparation_data = _data_without_main
    try:
        yield
    finally:
        with _lock:
            _leaving_out -= 1
            if not _leaving_out:
                spawn.get_preparation_data = _preparation_data


def _data_without_main(name: str) -> dict[str, Any]:
    data: dict[str, Any] = _preparation_data(name)
    return {key: each for key, each in data.items() if name != _WORKER or key not in _MAIN}
