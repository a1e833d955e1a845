"""The Dask servers of a run on this machine: its scheduler, its workers, and the nannies that start these.

Guarantees: they serve no HTTP. A task that kills its worker does not fail the
tasks that wait behind it.
"""

import ctypes
import logging
import os
import signal
import sys
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Literal

import dask.config
import distributed
import prefect.context
from distributed.http.routing import RoutingApplication

from prefect_ollama.flows.runner._worker_start import start_fork_server, without_main

# Heaps (arenas) of a worker, which has dozens of threads. By default glibc makes up to eight for each core, and
# hardly returns memory of any: a worker then took half as much memory again, and its work took longer
# (https://sourceware.org/glibc/manual/latest/html_node/Malloc-Tunable-Parameters.html).
HEAPS_PER_WORKER = 2

_M_ARENA_MAX = -8  # malloc.h

# Dask logs it with a traceback where the scheduler closes during the heartbeat of a worker, at the end of a run. A
# connection that breaks earlier ends the worker, and the run says so.
LOST_HEARTBEAT = "Failed to communicate with scheduler during heartbeat."

# Settings of Dask for the workers of a run.
CONFIG = {
    # These workers serve one run: nobody reads their pages, metrics or profiles, and they should use next to no CPU
    # while tasks wait for nodes.
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.cycle": "10s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.system-monitor.disk": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    # The first worker gets all tasks, because it is alone; with this setting the other workers soon take their share.
    "distributed.scheduler.work-stealing-interval": "100ms",
    # Workers survive a machine that slept for an hour. A nanny notices when a worker dies.
    "distributed.scheduler.worker-ttl": None,
    # If no worker of a role starts, its tasks fail, and do not wait for ever. Workers that end as they start fail them
    # earlier. On two cores with a load of 20 a worker needed more than two minutes to start.
    "distributed.scheduler.no-workers-timeout": "10 minutes",
}


def _keep_few_heaps() -> None:
    """Let threads that start from now on share heaps. Does nothing if the C library is not glibc."""
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, HEAPS_PER_WORKER)


class _WithoutHttp:
    """Base of the Dask servers of a run: they serve no HTTP, and import no modules from their scratch folder."""

    services: dict[str, Any]
    local_directory: str
    _updated_sys_path: bool

    def start_http_server(self, routes: Any, *_: Any, **__: Any) -> None:
        """Open no port. Dask's own method does so even without a dashboard."""
        self.http_application = RoutingApplication(routes)  # type: ignore[no-untyped-call]
        # `Client.dashboard_link` asks for the port of the server, and closing stops it.
        self.services["dashboard"] = SimpleNamespace(port=0, stop=lambda: None)

    def _leave_path(self) -> None:
        # Dask adds the folder for `Client.upload_file`, and does not always remove it when it closes.
        if self._updated_sys_path:
            with suppress(ValueError):
                sys.path.remove(self.local_directory)
            self._updated_sys_path = False


class RunWorker(_WithoutHttp, distributed.Worker):
    """A Dask worker with the Prefect settings of the flow.

    The process has the environment of the process that it was forked from, from the time when that one started.
    Prefect, which is imported already, has read its settings from there. So both are set again. Dask's log is limited
    to errors, because Prefect's logging would show the user every line about its connections.

    Args:
        environment: All variables that the process gets.
        role_key: Its role, and the key of the secrets for that role.
    """

    def __init__(
        self, *args: Any, environment: dict[str, str], role_key: tuple[str, bytes], **kwargs: Any
    ) -> None:
        self.role_key = role_key
        with suppress(ValueError):  # no main thread, so no signal either
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # where workers are spawned and not forked
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        prefect.context.refresh_global_settings_context()
        logging.getLogger("distributed").setLevel(logging.ERROR)
        logging.getLogger("distributed.worker").addFilter(lambda record: record.msg != LOST_HEARTBEAT)
        _keep_few_heaps()
        super().__init__(*args, **kwargs)
        self._leave_path()


class RunNanny(_WithoutHttp, distributed.Nanny):
    """A Dask nanny whose worker does not wait for running tasks when it stops."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with dask.config.set(CONFIG):
            super().__init__(*args, **kwargs)
        self._leave_path()

    async def instantiate(self) -> distributed.Status:
        """Start the worker process, the first or another one."""
        start_fork_server()  # the worker may have died
        with without_main():
            return await super().instantiate()

    async def kill(self, timeout: float = 5, reason: str = "nanny-kill") -> None:
        """Stop the worker process, and give it time to send its last logs and states."""
        if self.process is not None:
            await self.process.kill(reason=reason, timeout=max(timeout, 20), executor_wait=False)


class RunScheduler(_WithoutHttp, distributed.Scheduler):
    """A Dask scheduler that counts the death of a worker against the tasks that it ran, and not against waiting ones.

    Dask gives up a task after four deaths of its workers, and counts all tasks that a worker had. With two workers, all
    tasks move to the other one at each death. So one document that kills its worker would fail all tasks behind it.
    """

    def __init__(self, *args: Any, scratch: str, **kwargs: Any) -> None:
        with dask.config.set(CONFIG | {"temporary-directory": scratch}):
            super().__init__(*args, dashboard=False, **kwargs)
        self._leave_path()

    async def remove_worker(
        self, address: str, *, stimulus_id: str, expected: bool = False, close: bool = True
    ) -> Literal["OK", "already-removed"]:
        """Remove a worker, as Dask does."""
        worker = self.workers.get(address)
        if worker is not None and not expected:
            # The heartbeat says which tasks run. Since the last heartbeat the worker may have started others, and it
            # takes them by priority.
            first = sorted(worker.processing, key=lambda task: task.priority or ())[: worker.nthreads]
            for task in worker.processing - worker.executing.keys() - set(first):
                task.suspicious -= 1
        return await super().remove_worker(address, stimulus_id=stimulus_id, expected=expected, close=close)
