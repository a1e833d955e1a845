"""The Dask workers of a run on this machine: processes with one thread that parse, and one process that embeds.

Guarantees:

- Workers start while the flow goes on. They are forked from one process that serves all runs of this process, and do
  not run the user's script again.
- All ports listen on loopback only, and accept only clients with the run's certificate.
- No module is imported from a folder that another user of the machine can write to.
- Every process uses the Prefect API of the flow, so none starts a server of its own.
- A task that kills its worker does not fail the tasks that wait behind it.
- Closing takes a few seconds at most, even when tasks hang.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Generator
from contextlib import suppress
from typing import Any, Literal, Self

import dask.config
import distributed
import prefect.context
from cryptography.fernet import Fernet
from distributed.http.routing import RoutingApplication
from distributed.security import Security
from prefect.settings import get_current_settings

from prefect_ollama.blocks.errors import FolderNotPrivate
from prefect_ollama.blocks.private_files import private_folder
from prefect_ollama.flows.runner._worker_start import start_fork_server, without_main
from prefect_ollama.tasks.prefect_state import ROLES, Role

# The folder in Prefect's home for files of Dask processes. Dask makes a folder in it for each process, and removes
# those of killed processes when the next one starts.
SCRATCH = "ollama-scratch"

# Dask listens on all interfaces by default; workers of one machine need none of them.
_LOOPBACK = "127.0.0.1"

# Heaps (arenas) of a worker, which has dozens of threads. By default glibc makes up to eight for each core, and
# hardly returns memory of any: a worker then took half as much memory again, and its work took longer
# (https://sourceware.org/glibc/manual/latest/html_node/Malloc-Tunable-Parameters.html).
HEAPS_PER_WORKER = 2

_M_ARENA_MAX = -8  # malloc.h

# How often worker processes that end while they start are started again.
START_TRIES = 3

# Dask logs it with a traceback where the scheduler closes during the heartbeat of a worker, at the end of a run. A
# connection that breaks earlier ends the worker, and the run says so.
LOST_HEARTBEAT = "Failed to communicate with scheduler during heartbeat."

# Settings of Dask for the workers of a run.
_CONFIG = {
    # These workers serve one run: nobody reads their pages, metrics or profiles, and they should use next to no CPU
    # while tasks wait for nodes.
    "distributed.worker.http.routes": [],
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.cycle": "10s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.admin.system-monitor.disk": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    # The first worker gets all tasks, because it is alone; with this the others soon take their share.
    "distributed.scheduler.work-stealing-interval": "100ms",
    # Workers survive a machine that slept for an hour. A nanny notices when a worker dies.
    "distributed.scheduler.worker-ttl": None,
    # If no worker of a role starts, its tasks fail, and do not wait for ever.
    "distributed.scheduler.no-workers-timeout": "2 minutes",
}


def _keep_few_heaps() -> None:
    """Let threads that start from now on share heaps. Does nothing if the C library is not glibc."""
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, HEAPS_PER_WORKER)


class _NoHttpServer:
    """Takes the place of an HTTP server: `Client.dashboard_link` asks for its port."""

    port = 0

    def stop(self) -> None:
        """Do nothing."""


class _WithoutHttp:
    """Base of the Dask servers of a run: they serve no HTTP, and import no modules from their scratch folder."""

    services: dict[str, Any]
    local_directory: str
    _updated_sys_path: bool

    def start_http_server(self, routes: Any, *_: Any, **__: Any) -> None:
        """Open no port. Dask's own method does so even without a dashboard."""
        self.http_application = RoutingApplication(routes)  # type: ignore[no-untyped-call]
        self.services["dashboard"] = _NoHttpServer()

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
        with dask.config.set(_CONFIG):
            super().__init__(*args, **kwargs)
        self._leave_path()

    async def instantiate(self) -> distributed.Status:
        """Start the worker process, the first or another one."""
        start_fork_server()  # it may have died
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

    def __init__(self, *args: Any, scratch: str, dashboard: bool, **kwargs: Any) -> None:
        self._dashboard = dashboard
        with dask.config.set(_CONFIG | {"temporary-directory": scratch}):
            super().__init__(*args, dashboard=dashboard, **kwargs)
        self._leave_path()

    def start_http_server(self, routes: Any, *args: Any, **kwargs: Any) -> None:
        """Serve Dask's dashboard if it is asked for, and nothing otherwise."""
        serve = distributed.Scheduler if self._dashboard else _WithoutHttp
        serve.start_http_server(self, routes, *args, **kwargs)

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


class WorkerCluster(distributed.SpecCluster):
    """`parse-0` … `parse-(n-1)` with one thread each, and `embed` with many; their scheduler is in this process.

    A worker offers its threads as Dask resources under the name of its role, `{"parse": 1}` or `{"embed": threads}`.
    Workers have no memory limit: Dask would pause a worker at 80 % of its share of the machine, and kill it at 95 %.
    Memory is bounded here by the number of bundles in progress.

    Attributes:
        keys: The key of the secrets for the workers of each role, by role.

    Args:
        parse_processes: Number of worker processes for parse tasks.
        embed_threads: Threads of the one worker process for embed tasks; each mostly waits for nodes.
        env: Environment variables of the workers, in addition to those of this process.
        dashboard_address: Address of Dask's dashboard, such as `"127.0.0.1:8787"`; `None` serves none. It has no
            passwords, so every user of the machine can read it.
        security: Certificates for all connections. By default they are made for this cluster and kept in memory only.
            Other clients need `WorkerCluster.security` to connect.
        asynchronous: As for Dask's cluster.
    """

    def __init__(
        self,
        parse_processes: int,
        embed_threads: int,
        *,
        env: dict[str, str] | None = None,
        dashboard_address: str | None = None,
        security: Security | None = None,
        asynchronous: bool = False,
    ) -> None:
        # First of all: it imports modules while the rest is set up.
        start_fork_server()
        security = security or Security.temporary()  # type: ignore[no-untyped-call]
        self.keys: dict[str, bytes] = {role: Fernet.generate_key() for role in ROLES}
        self._scratch, scratch = None, ""
        try:
            scratch = str(private_folder(get_current_settings().home / SCRATCH))
        except (FolderNotPrivate, OSError):  # Prefect's home belongs to another user
            self._scratch = tempfile.TemporaryDirectory(prefix="prefect-ollama-", ignore_cleanup_errors=True)
            scratch = self._scratch.name
        self._dashboard = dashboard_address is not None
        logger = logging.getLogger("distributed")
        self._log_level = logger.level
        logger.setLevel(max(logger.level, logging.WARNING))
        roles: dict[str, tuple[Role, int]] = {"embed": ("embed", embed_threads)}
        roles |= {f"parse-{n}": ("parse", 1) for n in range(parse_processes)}
        self._left_to_start = {
            name: {
                "cls": RunNanny,
                "options": {
                    "host": _LOOPBACK,
                    "nthreads": nthreads,
                    "resources": {role: nthreads},
                    "memory_limit": 0,
                    "dashboard_address": f"{_LOOPBACK}:0",
                    "dashboard": False,
                    "worker_class": RunWorker,
                    "config": _CONFIG,
                    "role_key": (role, self.keys[role]),
                    "local_directory": scratch,
                    "security": security,
                    "environment": {**os.environ, **(env or {})},
                },
            }
            for name, (role, nthreads) in roles.items()
        }
        super().__init__(  # type: ignore[no-untyped-call]
            name="prefect-ollama",
            scheduler={
                "cls": RunScheduler,
                "options": {
                    "host": _LOOPBACK,
                    "port": 0,
                    "scratch": scratch,
                    "security": security,
                    "dashboard": dashboard_address is not None,
                    "dashboard_address": dashboard_address or f"{_LOOPBACK}:0",
                },
            },
            security=security,
            asynchronous=asynchronous,
        )
        # Unlike workers given to `__init__`, these start while the caller goes on.
        self.scale(len(self._left_to_start))  # type: ignore[no-untyped-call]

    def __await__(self) -> Generator[Any, None, Self]:
        async def started() -> Self:
            if self.status == distributed.Status.created:
                await self._start()  # type: ignore[no-untyped-call]
            return self

        return started().__await__()

    async def __aenter__(self) -> Self:
        # SpecCluster would wait for the workers here.
        return await self

    def new_worker_spec(self) -> dict[str, Any]:
        """Return name and specification of the next worker to start."""
        return dict([self._left_to_start.popitem()])

    @property
    def dashboard_link(self) -> str:
        """URL of Dask's dashboard, empty if there is none."""
        return str(super().dashboard_link) if self._dashboard else ""

    def kill_workers(self) -> None:
        """Kill the worker processes at once, without time to finish their tasks. Close the cluster afterwards."""
        for nanny in self.workers.values():
            nanny.auto_restart = False
            process = getattr(nanny.process, "process", None)
            if process is not None and process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)

    def _update_worker_status(self, op: str, msg: Any) -> None:
        # SpecCluster gives up a worker that is not back within 15 seconds. On a busy machine its nanny takes longer
        # to restart it.
        super(distributed.SpecCluster, self)._update_worker_status(op, msg)  # type: ignore[no-untyped-call]

    async def _correct_state_internal(self) -> None:
        for left in reversed(range(START_TRIES)):
            try:
                await super()._correct_state_internal()
                return
            except Exception as error:
                # Nobody awaits this while workers start, so the error would be lost.
                if not left and self.scheduler is not None:
                    logging.getLogger(__name__).error("Not all worker processes could start: %r", error)
                    # Tasks without a worker fail now, and wait no longer.
                    self.scheduler.no_workers_timeout = 1.0
                # Workers that ended while they started are removed here, so the next attempt starts them again.
                started = distributed.Status.running
                self.workers = {
                    name: worker for name, worker in self.workers.items() if worker.status == started
                }

    async def _close(self) -> None:
        try:
            await super()._close()  # type: ignore[no-untyped-call]
        finally:
            if self._scratch is not None:
                self._scratch.cleanup()
            logging.getLogger("distributed").setLevel(self._log_level)
