"""What waits to be sent: a line from which any node takes, and texts in quarantine, which failed alone.

An item stands here at most once. Items leave the line in the order of their jobs, urgent jobs first; what
comes back from a failed request goes before all others, because its job waits for it longest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from prefect_ollama.tasks.dispatch._job import Item

# Texts of a request at least, however many fail.
FEW = 4


class Queue:
    """The line and the quarantine.

    Args:
        most: Texts of a request at most. Fewer for a while when requests fail: where bad texts are many, large
            requests would all hold one, and each is sent again in halves.
    """

    def __init__(self, most: int) -> None:
        self._most = self._now_most = most
        self._line: deque[Item] = deque()
        self._units = 0.0
        self.quarantine: list[Item] = []

    def __len__(self) -> int:
        return sum(not item.answered for item in self._line) + sum(
            not item.answered for item in self.quarantine
        )

    @property
    def units(self) -> float:
        """Units of work in the line."""
        return self._units

    def put(self, items: Iterable[Item], *, front: bool) -> None:
        """Let items wait that are neither answered, waiting nor on their way."""
        wait = [item for item in items if not (item.answered or item.waiting or item.copies)]
        for item in wait:
            item.waiting = True
            self._units += item.units
        if front:
            self._line.extendleft(reversed(wait))
        else:
            self._line.extend(wait)

    def put_in_quarantine(self, item: Item) -> None:
        """Let an item wait to be sent alone."""
        if not (item.answered or item.waiting or item.copies):
            item.waiting = True
            self.quarantine.append(item)

    def leave_quarantine(self, item: Item) -> None:
        """Take an item out of quarantine."""
        item.waiting = False
        self.quarantine.remove(item)

    def head(self) -> Item | None:
        """The first of the line."""
        while self._line and self._line[0].answered:
            self._leave_line()
        return self._line[0] if self._line else None

    def take(self, units: float, most: int) -> list[Item]:
        """Items from the line for one request: at least one, as long as there is one.

        Those of an urgent job travel by themselves, so that no other text delays their answer.

        Args:
            units: Work that they should make up at most.
            most: Texts in it at most.
        """
        most = min(most, self._now_most)
        taken: list[Item] = []
        total = 0.0
        while (item := self.head()) is not None:
            most = min(most, item.limit)
            first = taken[0] if taken else item
            if taken and (len(taken) >= most or total + item.units > units):
                break
            if item.limit != first.limit or item.job.urgent != first.job.urgent:
                break
            taken.append(self._leave_line())
            total += item.units
        return taken

    def request_failed(self, items: list[Item]) -> None:
        """Send the texts of a failed request in halves, and others in smaller requests too."""
        for item in items:
            item.limit = max(1, min(item.limit, len(items) // 2))
        self._now_most = max(min(self._now_most, len(items)) // 2, FEW)

    def request_done(self) -> None:
        """Go back to larger requests by and by."""
        self._now_most = min(self._now_most + FEW, self._most)

    def _leave_line(self) -> Item:
        item = self._line.popleft()
        item.waiting = False
        self._units -= item.units
        if not self._line:
            self._units = 0.0  # no drift from adding and taking away floats
        return item
