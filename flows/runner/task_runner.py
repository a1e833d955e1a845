"""The task runner of the ingest flow: Dask, with processes for parsing and threads for embedding.

Guarantees: a task runs on a worker of its role. A run that submits no task starts no worker. Workers report to the API
of the flow. When the runner ends, its workers stop within seconds, and none of their task runs stays `Running` on the
server.
"""

import os
import weakref
from collections.abc import Iterable
from functools import partial
from inspect import signature
from typing import Any, Self
from uuid import uuid4

import distributed
from prefect.client.schemas.objects import RunInput
from prefect.context import FlowRunContext, TagsContext, TaskRunContext
from prefect.settings import get_current_settings
from prefect.states import Crashed
from prefect.tasks import Task
from prefect.utilities.collections import visit_collection
from prefect.utilities.engine import collect_task_run_inputs_sync
from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

from prefect_ollama.flows.runner._external_cluster import (
    connecting_to,
    named_scheduler,
    offered_roles,
    warn_if_open,
)
from prefect_ollama.flows.runner._local_cluster import WorkerCluster
from prefect_ollama.flows.runner._task_run_states import TaskRunStates
from prefect_ollama.flows.runner._worker_secrets import WorkerSecrets
from prefect_ollama.flows.runner._worker_start import start_fork_server
from prefect_ollama.flows.runner._worker_task import api_url, asset_context, pack, run_task, shared_context
from prefect_ollama.flows.runner.futures import IngestFuture
from prefect_ollama.tasks.prefect_state import ROLE_MARK, ROLES


class IngestTaskRunner(DaskTaskRunner):
    """Runs the tasks of a flow on Dask workers of two roles, `"parse"` and `"embed"`.

    A task declares its role with `runs_on` (`prefect_ollama.tasks.prefect_state`); a task without a role runs anywhere.

    Without arguments it starts a `WorkerCluster` at the first task, unless Dask's own setting `scheduler-address` (the
    variable `DASK_SCHEDULER_ADDRESS`) names a scheduler. With that or with `address` it uses the workers of that
    scheduler, which need this package installed. A task then runs on workers that offer its role as a Dask resource
    (`dask worker … --resources "parse=1"`) when the runner connects, and anywhere if none does.

    Args:
        parse_processes: Processes for parse tasks, by default one for each CPU. External workers decide this
            themselves.
        embed_threads: Threads for embed tasks, all in one process; each waits for nodes most of the time.
        address: Address of a running Dask scheduler.
        cluster_kwargs: Further arguments of `WorkerCluster`.
        client_kwargs: As for `DaskTaskRunner`.

    Raises:
        ValueError: A count is below one, or `address` comes with arguments for a cluster.
    """

    def __init__(
        self,
        parse_processes: int | None = None,
        embed_threads: int = 16,
        *,
        address: str | None = None,
        cluster_kwargs: dict[str, Any] | None = None,
        client_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if parse_processes is None:
            parse_processes = os.cpu_count() or 1
        if parse_processes < 1 or embed_threads < 1:
            raise ValueError("parse_processes and embed_threads must be at least 1")
        super().__init__(address=address, cluster_kwargs=cluster_kwargs, client_kwargs=client_kwargs)
        self.parse_processes = parse_processes
        self.embed_threads = embed_threads
        self._roles: frozenset[str] = frozenset()
        self._shared: tuple[FlowRunContext | None, set[str], bytes] | None = None
        self._packed: weakref.WeakKeyDictionary[Task[..., Any], bytes] = weakref.WeakKeyDictionary()
        self._worker_secrets: WorkerSecrets | None = None
        self._task_run_states = TaskRunStates()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IngestTaskRunner) and self._settings() == other._settings()

    __hash__ = None  # type: ignore[assignment]

    def duplicate(self) -> Self:
        """Return a runner with the same settings, which is not started."""
        return type(self)(**self._settings())

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers get the flow and its runner. The running cluster and the keys of its certificates stay here.
        settings = self._settings()
        for name in ("cluster_kwargs", "client_kwargs"):
            settings[name] = {key: each for key, each in settings[name].items() if key != "security"}
        return partial(type(self), **settings), ()

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    @property
    def client(self) -> Any:
        """The Dask client; the first access starts the workers or connects to them."""
        if self._client is None:
            self._task_run_states.open()
            if self.address is None:
                if not self.cluster_kwargs:
                    self.address = named_scheduler()
                self.resolved_cluster_class = self._own_cluster  # type: ignore[assignment]
            # An error with the address, in place of a time-out of Dask.
            with connecting_to(self.address):
                client = super().client
            if isinstance(self._cluster, WorkerCluster):
                self._roles = frozenset(ROLES)
            else:
                warn_if_open(client)
                self._roles, self.parse_processes = offered_roles(client)
        return super().client

    # The base class ties its type parameter to the futures of thread pools.
    def submit(  # type: ignore[override]
        self,
        task: Task[..., Any],
        parameters: dict[str, Any],
        wait_for: Iterable[Any] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> IngestFuture[Any]:
        """Submit a task to the workers of its role.

        Args:
            task: The task to run.
            parameters: Its arguments, by name. Results of futures in them go directly from worker to worker.
            wait_for: Futures to wait for.
            dependencies: Further task runs that the arguments depend on, by name of the argument.

        Raises:
            RuntimeError: The runner is not started.
        """
        if not self._started:
            raise RuntimeError("The task runner must be started before submitting work.")
        client = self.client
        parameters = _with_dask_futures(parameters)
        inputs = {
            name: collect_task_run_inputs_sync(value, future_cls=distributed.Future)
            | (dependencies or {}).get(name, set())
            for name, value in parameters.items()
        }
        role = getattr(task.fn, ROLE_MARK, None)
        self._worker_secrets = self._worker_secrets or WorkerSecrets(
            client,
            f"prefect-ollama-{self._task_run_states.token}",
            self._roles,
            self._cluster.keys if isinstance(self._cluster, WorkerCluster) else None,
        )
        # Before the task, because a worker that starts it at once has to find them.
        self._worker_secrets.of(parameters, role)
        task_run_id = uuid4()
        dask_future = client.submit(
            run_task,
            key=self._task_run_states.enter(task, task_run_id),
            resources={role: 1} if role in self._roles else None,
            pure=False,
            fifo_timeout="0 ms",  # strictly in the order of submission
            task=self._pack_task(task),
            shared=self._shared_context(),
            own=asset_context(task, task_run_id, inputs),
            task_run_id=task_run_id,
            parameters=parameters,
            wait_for=_with_dask_futures(wait_for) if wait_for else None,
            return_type="state",
            dependencies=inputs,
        )
        dask_future.task_run_id = task_run_id
        return IngestFuture(task_run_id, dask_future, task=task.name, states=self._task_run_states)

    def prepare(self) -> None:
        """Begin the slow part of starting our own workers, once there is certainly work for them."""
        if self.address is None and named_scheduler() is None:
            start_fork_server()

    def dismiss(self) -> None:
        """Stop our own workers when they have no work left; they end while the flow continues."""
        if isinstance(self._cluster, WorkerCluster):
            self._cluster.scale(0)  # type: ignore[no-untyped-call]

    def __exit__(self, *args: Any) -> None:
        left = [] if self._client is None else _unfinished_keys(self._client)
        interrupted = args[0] is not None and not issubclass(args[0], Exception)
        if interrupted and isinstance(self._cluster, WorkerCluster):
            self._cluster.kill_workers()  # after Ctrl-C no caller waits for unfinished tasks
        if self._worker_secrets is not None and self._cluster is None:
            self._worker_secrets.end()  # these workers stay
        # The states are reported after the workers are gone, so that none reports another one later.
        super().__exit__(*args)
        self._client = None
        for key in left:
            self._task_run_states.report(key, Crashed(message="The flow ended before this task run."))
        self._task_run_states.close()

    def _own_cluster(self, **kwargs: Any) -> WorkerCluster:
        settings = get_current_settings().to_environment_variables(exclude_unset=True, include_secrets=True)
        env = settings | {"PREFECT_API_URL": api_url()}
        return WorkerCluster(self.parse_processes, self.embed_threads, env=env, **kwargs)

    def _by_name(self, module: str) -> bool:
        """Return whether workers can import `module`: ours share this process's `sys.path`, others have our package."""
        return isinstance(self._cluster, WorkerCluster) or module.startswith("prefect_ollama.")

    def _pack_task(self, task: Task[..., Any]) -> bytes:
        if (packed := self._packed.get(task)) is None:
            packed = self._packed[task] = pack(task, by_name=self._by_name)
        return packed

    def _shared_context(self) -> bytes:
        flow, tags = FlowRunContext.get(), TagsContext.get().current_tags
        inside_task = TaskRunContext.get() is not None
        if self._shared is not None and not inside_task:
            of_flow, of_tags, packed = self._shared
            if of_flow is flow and of_tags == tags:
                return packed
        # Our own workers were started with the settings.
        context = shared_context(settings=not isinstance(self._cluster, WorkerCluster))
        packed = pack(context, by_name=self._by_name)
        if not inside_task:
            self._shared = (flow, set(tags), packed)
        return packed


def _with_dask_futures(values: Any) -> Any:
    """Return the values with Dask's futures in place of Prefect's, so that workers pass results to each other."""

    def unwrap(value: Any) -> Any:
        return value.wrapped_future if isinstance(value, PrefectDaskFuture) else value

    return visit_collection(values, visit_fn=unwrap, return_data=True)


def _unfinished_keys(client: distributed.Client) -> list[str]:
    """Return the keys that workers have and have not finished."""
    try:
        processing = client.processing()  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError):
        return []  # the scheduler is gone, and with it the knowledge
    return [str(key) for keys in processing.values() for key in keys]
