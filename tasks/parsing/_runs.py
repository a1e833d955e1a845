"""Runs of neighbours in a sequence."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")


def runs(items: Iterable[_Item], parted: Callable[[_Item, _Item], bool]) -> Iterator[list[_Item]]:
    """Divide items between any two neighbours that are parted, in their order."""
    run: list[_Item] = []
    for item in items:
        if run and parted(run[-1], item):
            yield run
            run = []
        run.append(item)
    if run:
        yield run
