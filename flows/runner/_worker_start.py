"""How the processes of a run's Dask workers start: from where they are forked, and what they import.

Guarantees: nothing is imported from the working folder, unless it is on the `sys.path` of this process; the file that
the user runs is not run again.
"""

from __future__ import annotations

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

_METHOD = "distributed.worker.multiprocessing-method"

# How Dask names the processes of its workers (`distributed.nanny.WorkerProcess.start`).
_WORKER: Final = "Dask Worker process (from Nanny)"

_MAIN: Final = ("init_main_from_name", "init_main_from_path")

_SAFE_PATH: Final = "PYTHONSAFEPATH"

_lock = threading.Lock()
_starting = threading.Lock()
_leaving_out = 0
_preparation_data = spawn.get_preparation_data


def start_fork_server() -> None:
    """Have worker processes forked from one that has imported all of this already, and which starts meanwhile.

    What they import takes 2 to 3 seconds of CPU, each. Nothing that is imported there starts threads which a fork
    would lose: LanceDB does, and is imported by those who open a table.
    """
    if sys.platform != "linux":
        return
    if dask.config.get(_METHOD) == "spawn":
        dask.config.set({_METHOD: "forkserver"})
        get_mp_context()  # type: ignore[no-untyped-call]  # Dask names what it wants there, once
        multiprocessing.set_forkserver_preload(["prefect_ollama.flows.ingest"])
    if dask.config.get(_METHOD) == "forkserver":
        with _working_folder_off_path():
            resource_tracker.ensure_running()  # unblocks the signal, so it comes first
            with _deaf_to_interrupts():
                forkserver.ensure_running()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Have processes that this thread starts meanwhile ignore Ctrl-C, with all that they start in turn.

    Ctrl-C in a terminal goes to all of its processes. Only the flow's own is to stop then, and stops the others.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _working_folder_off_path() -> Iterator[None]:
    """Have Python processes that start meanwhile import nothing from the working folder.

    `multiprocessing` starts its helpers by `python -c`, which puts that folder in front of `sys.path`: in `/tmp`, a
    `lancedb.py` of another user would run. Workers get the `sys.path` of this process afterwards.
    """
    if os.environ.get(_SAFE_PATH):
        yield
        return
    # Not through `os.environ`: another thread may be reading all of it, and would fail when an entry vanishes.
    # One at a time: the first of two threads to end would take the variable from the other one's processes.
    with _starting:
        os.putenv(_SAFE_PATH, "1")
        try:
            yield
        finally:
            os.unsetenv(_SAFE_PATH)


@contextmanager
def without_main() -> Iterator[None]:
    """Start Dask workers that do not import the main module while the context lasts; contexts may overlap.

    `multiprocessing` has a new process import the file that the user runs, as `__mp_main__`. A script without
    `if __name__ == "__main__":` would start its flow in every worker. Dask's workers need nothing of that file: what a
    task takes from it travels by value (cloudpickle). Other processes that start meanwhile import it as always.
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
