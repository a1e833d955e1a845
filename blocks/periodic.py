"""A thread that calls a function every few seconds."""

import contextvars
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self


class PeriodicThread:
    """Calls a function periodically in a daemon thread, with the context variables of the thread that made this.

    Use it as a context manager, or end it with `end`. An exception of the function ends the thread.

    Args:
        action: The function. The first call comes after `every_s` seconds.
        every_s: Seconds from the end of one call to the next one.
        name: Name of the thread.
        within: A context manager that the thread enters before its first call, and leaves after its last one.
        last: Whether to call the function once more at the end.
    """

    def __init__(
        self,
        action: Callable[[], object],
        every_s: float,
        *,
        name: str,
        within: Callable[[], AbstractContextManager[Any]] = nullcontext,
        last: bool = False,
    ) -> None:
        self._action, self._every_s, self._within, self._last = action, every_s, within, last
        self._end = threading.Event()
        # Prefect keeps the run and its settings in context variables.
        context = contextvars.copy_context()
        # A daemon, so that the end of the process does not wait for it.
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=name, daemon=True)

    @property
    def ending(self) -> bool:
        """Whether `end` was called."""
        return self._end.is_set()

    def start(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def end(self, timeout_s: float = 0.0) -> None:
        """End the thread, and wait up to `timeout_s` seconds for a call in progress."""
        self._end.set()
        self._thread.join(timeout_s)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.end()

    def _run(self) -> None:
        with self._within():
            while not self._end.wait(self._every_s):
                self._action()
            if self._last:
                self._action()
