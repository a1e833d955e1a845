"""Results that can be awaited: `await` gives the result itself.

Flows run to their end before they return, in async code too. So there is nothing to wait for, and who writes `await`
nevertheless, as for other flows there, gets the same.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Awaitable:
    """Can be awaited, which gives itself."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, Self]:
        """Return itself, without letting the loop do anything else."""
        return self
        yield


class AwaitableList(list[T], Awaitable):
    """A list that can be awaited."""

    __slots__ = ()


def awaited(result: Any) -> Any:
    """The result; a list as one that can be awaited."""
    return AwaitableList(result) if type(result) is list else result
