"""What crosses from the flow to a Dask worker to run a task there, and the function that runs it.

Guarantees: the task engine of Prefect runs the task exactly as it does elsewhere (states, retries, cache,
logs, hooks); what is the same for all task runs of a flow run (settings, flow, flow run) is packed once by the
flow and unpacked once by each worker; a worker thread keeps one API client.

This costs a tenth of what `prefect_dask.client` does for each task run: there the settings alone take 30 ms
to pack and 50 ms to rebuild, and two API clients with a TLS context each 64 ms.
"""

import asyncio
import functools
import importlib
import io
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from types import FunctionType
from typing import Any, cast
from uuid import UUID

import cloudpickle  # type: ignore[import-untyped]
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import (
    AssetContext,
    FlowRunContext,
    SettingsContext,
    SyncClientContext,
    serialize_context,
)
from prefect.flows import Flow
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_engine import run_task_async, run_task_sync
from prefect.tasks import MaterializingTask, Task


def pack(obj: Any, *, by_name: Callable[[str], bool]) -> bytes:
    """Pickle `obj`; tasks and flows that a worker can import travel as names.

    cloudpickle on its own packs the function of each task by value, with the globals that it uses, because
    the name in the module means the task and not the function. The worker's copy then has its own globals.

    Args:
        by_name: Whether the workers can import the module of this name.
    """
    buffer = io.BytesIO()
    _Pickler(buffer, by_name).dump(obj)
    return buffer.getvalue()


def shared_context(*, settings: bool) -> dict[str, Any]:
    """Return the part of Prefect's context that all task runs of the current flow run share.

    Without the flow's parameters: they may hold secrets, and what a task needs is in its arguments.

    Args:
        settings: Whether Prefect's settings are to be in it, for workers that have others.
    """
    flow = FlowRunContext.get()
    with (
        temporary_settings({PREFECT_API_URL: api_url()}) if settings else nullcontext(),
        _without_parameters(flow) if flow is not None else nullcontext(),
    ):
        context = serialize_context()
    if not settings:
        context.pop("settings_context", None)
    return context | {"deployment_parameters": None}


def asset_context(task: Task[..., Any], task_run_id: UUID, inputs: dict[str, set[Any]]) -> dict[str, Any]:
    """Return the asset part of the task run's context; empty if the task has no assets."""
    flow = FlowRunContext.get()
    if not (task.asset_deps or isinstance(task, MaterializingTask) or (flow and flow.task_run_assets)):
        return {}
    context = AssetContext.from_task_and_inputs(task, task_run_id, inputs, copy_to_child_ctx=True)
    return {"asset_context": context.serialize()}


def _without_parameters(flow: FlowRunContext) -> FlowRunContext:
    run = flow.flow_run and flow.flow_run.model_copy(update={"parameters": {}})
    return flow.model_copy(update={"parameters": {}, "flow_run": run})


def api_url() -> str:
    """Return the URL of the API that the flow talks to; if there is none, Prefect's temporary server starts."""
    flow = FlowRunContext.get()
    client = flow.client if flow is not None else get_client(sync_client=True)
    return str(client.api_url).rstrip("/")


#: Equal bytes give the same object again, so that a worker rebuilds what it was sent only once.
unpack = functools.lru_cache(maxsize=32)(cloudpickle.loads)


def run_task(*, task: bytes, shared: bytes, own: dict[str, Any], **call: Any) -> State[Any]:
    """Run one task on this worker and return its final state.

    Args:
        task: The packed `Task`.
        shared: Packed, the `shared_context` of the flow run. Without settings in it the worker's own apply.
        own: The part of the context that belongs to this task run.
        call: As `prefect.task_engine.run_task_sync` takes it, without `task` and `context`.
    """
    subject: Task[..., Any] = unpack(task)
    context, settings = _context(shared)
    call |= {"task": subject, "context": context | own}
    # A copy, because a context object can be entered by one thread at a time only.
    with settings.model_copy() if settings else nullcontext(), _kept_client(shared):
        if subject.isasync:
            return cast("State[Any]", asyncio.run(run_task_async(**call)))
        return cast("State[Any]", run_task_sync(**call))


@functools.lru_cache(maxsize=32)
def _context(shared: bytes) -> tuple[dict[str, Any], SettingsContext | None]:
    context = cloudpickle.loads(shared)
    settings = context.pop("settings_context", None)
    return context, SettingsContext(**settings) if settings else None


_thread = threading.local()


@contextmanager
def _kept_client(flow: bytes) -> Generator[None]:
    """Let the engine find the API client that this thread opened for an earlier task run of the flow run."""
    variable = getattr(SyncClientContext, "__var__", None)
    if variable is None:
        yield  # the engine opens a client for each task run, as it does in `prefect_dask`
        return
    if getattr(_thread, "flow", None) != flow:
        if (old := getattr(_thread, "context", None)) is not None:
            _thread.flow = _thread.context = None
            old.client.__exit__(None, None, None)
        context = SyncClientContext()
        context.client.__enter__()
        _thread.context, _thread.flow = context, flow
    # Entering the context itself would tie it to the `contextvars` context of one task run.
    token = variable.set(_thread.context)
    try:
        yield
    finally:
        variable.reset(token)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, by_name: Callable[[str], bool]) -> None:
        super().__init__(file)
        self._by_name = by_name

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Task | Flow):
            named = self._found_by_name(obj.fn)
            if named is obj:
                return _import, (obj.fn.__module__, obj.fn.__qualname__)
        elif isinstance(obj, FunctionType):
            named = self._found_by_name(obj)
            if isinstance(named, Task | Flow) and named.fn is obj:
                return _import_function, (obj.__module__, obj.__qualname__)
        return super().reducer_override(obj)

    def _found_by_name(self, function: Any) -> Any:
        """Return what the workers find under the name of `function`, `None` if they cannot find it."""
        name = getattr(function, "__module__", None)
        if name is None or name == "__main__" or not self._by_name(name):
            return None
        found: Any = sys.modules.get(name)
        for part in function.__qualname__.split("."):
            found = getattr(found, part, None)
        return found


def _import(module: str, qualname: str) -> Any:
    return functools.reduce(getattr, qualname.split("."), importlib.import_module(module))


def _import_function(module: str, qualname: str) -> Any:
    return _import(module, qualname).fn
