"""Split a sequence between neighbours that do not belong together."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")


def split_between(items: Iterable[_Item], parted: Callable[[_Item, _Item], bool]) -> Iterator[list[_Item]]:
    """Yield lists of items in their order, split between neighbours for which `parted` is true."""
    run: list[_Item] = []
    for item in items:
        if run and parted(run[-1], item):
            yield run
            run = []
        run.append(item)
    if run:
        yield run
