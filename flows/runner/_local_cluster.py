"""The Dask workers that a run starts on this machine: processes with one thread parse, and one process embeds.

Guarantees:

- Workers start while the flow continues. They are forked from one process that serves all runs of this process, and do
  not run the user's script again.
- All ports listen on loopback only, and accept only clients with the run's certificate.
- No module is imported from a folder that another user of the machine can write to.
- Every process uses the Prefect API of the flow, so none starts a server of its own.
- Closing takes a few seconds at most, even when tasks hang.
"""

import logging
import os
import signal
import tempfile
from collections.abc import Generator
from contextlib import suppress
from typing import Any, Self

import distributed
from cryptography.fernet import Fernet
from distributed.security import Security
from prefect.settings import get_current_settings

from prefect_ollama.blocks.errors import FolderNotPrivate
from prefect_ollama.blocks.private_files import private_folder
from prefect_ollama.flows.runner._dask_servers import CONFIG, RunNanny, RunScheduler, RunWorker
from prefect_ollama.flows.runner._worker_start import start_fork_server
from prefect_ollama.tasks.prefect_state import ROLES, Role

# The folder in Prefect's home for files of Dask processes. Dask makes a folder in it for each process, and removes
# those of killed processes when the next one starts.
SCRATCH = "ollama-scratch"

# Dask listens on all interfaces by default; workers of one machine need none of them.
_LOOPBACK = "127.0.0.1"

# How often worker processes that end while they start are started again.
START_TRIES = 3


class WorkerCluster(distributed.SpecCluster):
    """`parse-0` … `parse-(n-1)` with one thread each, and `embed` with many; their scheduler is in this process.

    A worker offers its threads as Dask resources under the name of its role, `{"parse": 1}` or `{"embed": threads}`.
    Workers have no memory limit: Dask would pause a worker at 80 % of its share of the machine, and kill it at 95 %.
    Memory is bounded here by the number of bundles in progress.

    Attributes:
        keys: The key of the secrets for the workers of each role, by role.

    Args:
        embed_threads: Threads of the one worker process for embed tasks; each mostly waits for nodes.
        env: Environment variables of the workers, in addition to those of this process.
        security: Certificates for all connections. By default they are made for this cluster and kept in memory only.
            Other clients need `WorkerCluster.security` to connect.
    """

    def __init__(
        self,
        parse_processes: int,
        embed_threads: int,
        *,
        env: dict[str, str] | None = None,
        security: Security | None = None,
    ) -> None:
        # First of all: it imports modules while the rest is set up.
        start_fork_server()
        security = security or Security.temporary()  # type: ignore[no-untyped-call]
        self.keys: dict[str, bytes] = {role: Fernet.generate_key() for role in ROLES}
        self._scratch = None
        try:
            scratch = str(private_folder(get_current_settings().home / SCRATCH))
        except (FolderNotPrivate, OSError):  # Prefect's home belongs to another user
            self._scratch = tempfile.TemporaryDirectory(prefix="prefect-ollama-", ignore_cleanup_errors=True)
            scratch = self._scratch.name
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
                    "config": CONFIG,
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
                    "dashboard_address": f"{_LOOPBACK}:0",
                },
            },
            security=security,
        )
        # Unlike workers given to `__init__`, these start while the caller continues.
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
        """Empty, because these servers serve no HTTP; Prefect would log the URL."""
        return ""

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
                # No code awaits this while workers start, so the error would be lost.
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
