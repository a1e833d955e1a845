"""The base of all dispatchers: an engine in a thread with an event loop, which gets jobs from any other thread."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from prefect_ollama.blocks.errors import ClusterError
from prefect_ollama.blocks.nodes import ClusterSpec
from prefect_ollama.tasks.dispatch._engine import Engine
from prefect_ollama.tasks.dispatch._job import Job
from prefect_ollama.tasks.dispatch._request_kind import RequestKind
from prefect_ollama.tasks.dispatch._shared_limits import SharedLimits
from prefect_ollama.tasks.dispatch.stats import NodeStats

T = TypeVar("T")


class EngineThread:
    """A thread with an event loop; it ends with the last engine that was opened in it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="dispatcher", daemon=True)
        self._thread.start()
        self._limits: list[SharedLimits] = []
        self._lock = threading.Lock()
        self._open = 0

    def open(self, kind: RequestKind, cluster: ClusterSpec, shared_folder: Path | None) -> Engine:
        """Open an engine, which takes account of the requests that the other engines of this thread have in flight."""
        limits = SharedLimits(shared_folder, kind.name, self._limits)
        engine = self.run(lambda: Engine(kind, cluster, limits))
        with self._lock:
            self._open += 1
        return engine

    def run(self, step: Callable[[], T]) -> T:
        """Run a step in the loop, and return its result."""

        async def stepping() -> T:
            return step()

        return asyncio.run_coroutine_threadsafe(stepping(), self.loop).result()

    def close(self, engine: Engine) -> None:
        """Close an engine, and end the thread with the last one."""
        asyncio.run_coroutine_threadsafe(engine.aclose(), self.loop).result()
        with self._lock:
            self._open -= 1
            if self._open:
                return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class BaseDispatcher:
    """One engine, for use from any thread. Close it, or use it as a context manager.

    Args:
        shared_folder: Folder in which all users of the same nodes share their limits; None for none.
        thread: The thread that runs the engine; None for a new one.
    """

    def __init__(
        self,
        kind: RequestKind,
        cluster: ClusterSpec,
        shared_folder: Path | None,
        thread: EngineThread | None = None,
    ) -> None:
        self.thread = thread or EngineThread()
        self._engine = self.thread.open(kind, cluster, shared_folder)
        self._lock = threading.Lock()
        self._closed = False

    def stats(self) -> tuple[NodeStats, ...]:
        """Return the statistics of the nodes; a text is what a request asks for, such as an answer or a question."""
        if self._closed:  # the loop has ended, so the statistics are final
            return self._engine.stats()
        return self.thread.run(self._engine.stats)

    @property
    def idle(self) -> bool:
        """Whether nothing waits or is in flight."""
        return self._engine.idle

    def close(self) -> None:
        """Cancel what is in flight and close all connections. Waiting callers get a ClusterError."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self.thread.close(self._engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, job: Job[Any]) -> None:
        """Give a job to the engine.

        Raises:
            ClusterError: The dispatcher was closed before.
        """
        with self._lock:
            if self._closed:
                raise ClusterError("The dispatcher is closed.", left=job.left, remedy="Open another one.")
            self.thread.loop.call_soon_threadsafe(self._engine.add, job)

    def cancel(self, job: Job[Any]) -> None:
        """Drop a job whose caller is gone."""
        with self._lock:
            if not self._closed and not job.future.done():
                self.thread.loop.call_soon_threadsafe(self._engine.cancel, job)

    def wait_for(self, job: Job[T], timeout: float | None = None) -> T:
        """Submit a job and wait for its result. If the caller stops waiting, the job is dropped.

        Raises:
            TimeoutError: There is no result after `timeout` seconds.
        """
        self.submit(job)
        try:
            return job.future.result(timeout)
        finally:
            self.cancel(job)
