"""Something that is done every few seconds, in a thread of its own, while something else goes on."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self


class PeriodicThread:
    """Call a function again and again in a daemon thread, which has the context variables of the thread that made this.

    Use it as a context, or end it with `end`. What the function raises ends the thread.

    Args:
        action: Called every `every_s` seconds, for the first time after as many.
        every_s: Seconds from the end of one call to the next one.
        name: Name of the thread.
        within: Entered by the thread before its first call and left after its last one.
        last: Whether to call the function once more when the end is asked for.
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
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name=name, daemon=True)

    @property
    def ending(self) -> bool:
        """Whether the end was asked for."""
        return self._end.is_set()

    def start(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def end(self, timeout_s: float = 0.0) -> None:
        """Ask for the end, and wait so many seconds for a call that is under way."""
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
