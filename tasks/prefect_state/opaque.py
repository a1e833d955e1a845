"""Task arguments that Prefect does not search.

Prefect looks for futures in all arguments of a task, through every list and dataclass. For a thousand chunks with their
rectangles that takes longer than parsing them.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Opaque(Generic[T]):
    """Holds a value that Prefect passes on without searching it."""

    __slots__ = ("content",)

    def __init__(self, content: T) -> None:
        self.content = content

    def __repr__(self) -> str:
        return f"Opaque({type(self.content).__name__})"
