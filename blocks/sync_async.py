"""Between sync and async code: results that can be awaited, and async code that is run from sync code.

Flows run to their end before they return, in async code too. So code need not await them, but code that awaits them, as
it awaits other flows, works too.
"""

import asyncio
from collections.abc import Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Awaitable:
    """Can be awaited, and then returns itself."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, Self]:
        """Return itself, without giving control to the event loop."""
        yield from ()  # makes this a generator, which `__await__` must return
        return self


class AwaitableList(list[T], Awaitable):
    """A list that can be awaited."""

    __slots__ = ()


# By exact type: subclasses, such as `Found`, can be awaited already.
def awaited(result: Any) -> Any:
    """Return the result; a list becomes one that can be awaited."""
    return AwaitableList(result) if type(result) is list else result


def blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine and return its result. An event loop that runs in this thread is blocked meanwhile."""
    running = None
    with suppress(RuntimeError):
        running = asyncio.get_running_loop()
    if running is None:
        # Not while that error is handled: a traceback would show it above the error of the coroutine.
        return asyncio.run(coroutine)
    # `asyncio.run` refuses a thread with an event loop, so another thread runs it.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
