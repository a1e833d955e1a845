"""What one node can do, learned while it works: its rate, and how much in flight it needs to never idle.

The rate is units finished over time busy, both decaying, so it follows a node that slows or comes back. How
many requests a node serves at once (its slots) shows in the waiting: a request that finds the node full
waits for one before it. Sources: weighted factoring (Hummel et al. 1996, doi:10.1145/237502.237576) for
learning rates from the work itself; Little's law for the slots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MEMORY = 3.0
"""Seconds over which the rate forgets: a node that slows shows within a few requests."""

FIRST_LIMIT = 4
"""Requests in flight while nothing is known yet; they are small."""

GROWTH = 4.0
"""A request is at most this many times as large as the largest that the node has finished."""


@dataclass(slots=True)
class Sent:
    """What a request found when it was sent."""

    at: float
    units: float
    in_flight: int
    smallest_ahead: float


class Pace:
    """Learned pace of one node. Times are seconds of one monotonic clock.

    Args:
        units: Work of the request that is known already (the canary texts'), 0 for none.
        seconds: Its time.
        most: Requests in flight at most.
    """

    def __init__(self, units: float, seconds: float, most: int) -> None:
        self._most = most
        self._mark = 0.0
        self.in_flight = 0
        self.in_flight_units = 0.0
        self.start_over(units, seconds)

    def start_over(self, units: float, seconds: float) -> None:
        """Forget all but one known request: the node was away and may be another machine now."""
        self._units = max(units, 1.0)
        self._seconds = max(seconds, 1e-3)
        self._unit_seconds = self._seconds / self._units
        self._unit_rate = self._units / self._seconds
        self._largest = self._units
        self._slots = 1.0
        self._finished = 0

    def sent(self, now: float, units: float, smallest_ahead: float) -> Sent:
        """Note a request that goes out now."""
        if self.in_flight == 0:
            self._mark = now
        note = Sent(now, units, self.in_flight, smallest_ahead)
        self.in_flight += 1
        self.in_flight_units += units
        return note

    def dropped(self, now: float, note: Sent) -> None:
        """Note a request that ended without an answer: its time counts neither for nor against the node."""
        self._remove(note)
        self._mark = now

    def finished(self, now: float, note: Sent) -> float:
        """Learn from an answer.

        Returns:
            Seconds of the node's time that the request took.
        """
        self._remove(note)
        busy = max(0.0, now - self._mark)
        self._mark = now
        keep = math.exp(-busy / MEMORY)
        self._units = self._units * keep + note.units
        self._seconds = self._seconds * keep + busy
        self._finished += 1
        self._largest = max(self._largest, note.units)
        self._learn_slots(now, note)
        return busy

    def _remove(self, note: Sent) -> None:
        self.in_flight -= 1
        self.in_flight_units -= note.units

    def _learn_slots(self, now: float, note: Sent) -> None:
        latency = now - note.at
        rate = self._units / max(self._seconds, 1e-6)
        if rate < 0.5 * self._unit_rate:  # the node slowed; as many slots as before, each slower
            self._unit_seconds *= self._unit_rate / rate
            self._unit_rate = rate
        self._unit_rate = max(self._unit_rate, rate)
        if latency / note.units < self._unit_seconds:
            self._unit_seconds = latency / note.units
        waited = latency - note.units * self._unit_seconds
        if note.in_flight and waited < 0.15 * note.smallest_ahead * self._unit_seconds:
            self._slots = max(self._slots, note.in_flight + 1.0)
        else:
            self._slots = max(1.0, min(self._slots, 1.1 * rate * self._unit_seconds))

    def rate(self, now: float) -> float:
        """Units a second. Falls by itself while the node is silent for longer than its work should take."""
        learned = self._units / max(self._seconds, 1e-6)
        if not self.in_flight:
            return learned
        silent = now - self._mark
        return min(learned, (self._units + self.in_flight_units) / (self._seconds + silent))

    @property
    def slots(self) -> float:
        """Estimate of how many requests it serves at once."""
        return self._slots

    @property
    def limit(self) -> int:
        """Requests to keep in flight: one more than it serves at once, so that the next one waits there."""
        wanted = math.ceil(self._slots - 0.25) + 1
        if self._finished < FIRST_LIMIT:
            wanted = max(wanted, FIRST_LIMIT)
        return max(1, min(wanted, self._most))

    @property
    def largest(self) -> float:
        """Units of the largest request to risk now."""
        return GROWTH * self._largest

    def backlog(self, now: float) -> float:
        """Seconds until what is in flight should be done."""
        if not self.in_flight:
            return 0.0
        rate = self.rate(now)
        return max(0.1 * self.in_flight_units / rate, self.in_flight_units / rate - (now - self._mark))

    def silence(self, now: float) -> float:
        """Seconds since the last answer, while something is in flight."""
        return now - self._mark if self.in_flight else 0.0
