"""The queue, from which every node takes texts, and the quarantine of texts that failed alone.

An item is here at most once. Items leave the queue in the order of their jobs, urgent jobs first. Items of a failed
request go before all others, because their job has waited longest.
"""

from collections import deque
from collections.abc import Iterable

from prefect_ollama.tasks.dispatch._job import Item

# Smallest bound of texts in a request, however many requests fail: single texts would pay each request's overhead.
MIN_REQUEST_TEXTS = 4


class Queue:
    """The queue and the quarantine.

    Args:
        most: Highest number of texts in a request. The size is lower for a while after requests have failed: with many
            bad texts every large request would hold a bad text, and be sent again in halves.
    """

    def __init__(self, most: int) -> None:
        self._most = self._now_most = most
        self._line: deque[Item] = deque()
        self._units = 0.0
        self.quarantine: list[Item] = []

    @property
    def units(self) -> float:
        """Units of work in the queue."""
        return self._units

    def recount(self) -> None:
        """Recompute the sum of the work: estimates of items have changed."""
        self._units = sum(item.units for item in self._line)

    def put(self, items: Iterable[Item], *, front: bool, alone: bool = False) -> None:
        """Queue the items that are neither answered, nor queued, nor in flight.

        Items that some nodes may not get, or all items if `alone` is true, go to quarantine, from which each is sent
        alone.
        """
        wait: list[Item] = []
        for item in items:
            if item.answered or item.waiting or item.copies:
                continue
            item.waiting = True
            if alone or item.failures or item.job.avoid:
                self.quarantine.append(item)
            else:
                wait.append(item)
                self._units += item.units
        if front:
            self._line.extendleft(reversed(wait))
        else:
            self._line.extend(wait)

    def leave_quarantine(self, item: Item) -> None:
        """Take an item out of quarantine."""
        item.waiting = False
        self.quarantine.remove(item)

    def head(self) -> Item | None:
        """Return the first item of the queue, None if it is empty."""
        # A hedge may have answered an item that went back to the queue.
        while self._line and self._line[0].answered:
            self._leave_line()
        return self._line[0] if self._line else None

    def take(self, units: float, most: int) -> list[Item]:
        """Take items for one request: at least one, if there is one.

        Items of urgent jobs share no request with others, so that no other text delays their answer.

        Args:
            units: Work of the request at most.
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
        """Halve the request size for the texts of a failed request, and for a while for all others."""
        for item in items:
            item.limit = max(1, min(item.limit, len(items) // 2))
        self._now_most = max(min(self._now_most, len(items)) // 2, MIN_REQUEST_TEXTS)

    def request_done(self) -> None:
        """Let requests grow again after a success."""
        # Slowly, by addition: one success says little about the texts that come next.
        self._now_most = min(self._now_most + MIN_REQUEST_TEXTS, self._most)

    def _leave_line(self) -> Item:
        item = self._line.popleft()
        item.waiting = False
        self._units -= item.units
        if not self._line:
            self._units = 0.0  # avoids drift from adding and subtracting floats
        return item
