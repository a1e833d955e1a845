"""What one node can do, learned while it works: its rate, and how much in flight it needs to never idle.

The rate is units finished over time busy, both decaying, so it follows a node that slows or comes back. How
many requests a node serves at once (its slots) shows in the waiting: of two, four, eight sent together, those
beyond its slots come back later. Source for learning rates from the work itself: weighted factoring (Hummel
et al. 1996, doi:10.1145/237502.237576).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MEMORY = 3.0
"""Seconds over which the rate forgets: a node that slows shows within a few requests."""

AT_ONCE = 1.5
"""Requests of one wave were served at once when none took this many times as long as the quickest."""

GROWTH = 8.0
"""A request is at most this many times as large as the largest that the node has finished."""


FIRST_GROWTH = 4.0
"""The same while its slots are being found out."""


@dataclass(slots=True, eq=False)
class Sent:
    """A request as the node's pace sees it.

    Attributes:
        at: When it was sent.
        units: Its work.
    """

    at: float
    units: float


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
        self._sent: list[Sent] = []
        self.in_flight_units = 0.0
        self.start_over(units, seconds)

    def start_over(self, units: float, seconds: float) -> None:
        """Forget all but one known request: the node was away and may be another machine now."""
        self._units = max(units, 1.0)
        self._seconds = max(seconds, 1e-3)
        self._largest = self._units
        self._slots = 1.0
        self._wave: dict[Sent, float | None] = {}
        self._wave_size = min(2, self._most)
        self._least = float("inf")

    def sent(self, now: float, units: float) -> Sent:
        """Note a request that goes out now."""
        if self.in_flight == 0:
            self._mark = now
        note = Sent(now, units)
        self._sent.append(note)
        if len(self._wave) < self._wave_size:
            self._wave[note] = None
        self.in_flight_units += units
        return note

    def dropped(self, now: float, note: Sent) -> None:
        """Note a request that ended without an answer: its time counts neither for nor against the node."""
        self._remove(note)
        self._wave.pop(note, None)
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
        self._least = min(self._least, now - note.at)
        self._largest = max(self._largest, note.units)
        self._learn_slots(now - note.at, note)
        return busy

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return len(self._sent)

    def _remove(self, note: Sent) -> None:
        self._sent.remove(note)
        self.in_flight_units = sum(other.units for other in self._sent)

    def _learn_slots(self, latency: float, note: Sent) -> None:
        """Judge a wave of requests sent at once, once all of it is back: who waited, and who did not?"""
        if note not in self._wave:
            return
        self._wave[note] = latency / note.units
        if len(self._wave) < self._wave_size or None in self._wave.values():
            return  # a small job may not fill the wave; the next one does
        times = [time for time in self._wave.values() if time is not None]
        served = sum(time <= AT_ONCE * min(times) for time in times)
        self._slots = float(served)
        self._wave = {}
        more = served == len(times) and served < self._most
        self._wave_size = min(2 * served, self._most) if more else 0

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
        """Requests to have in flight: one more than it serves at once, so that the next one waits there.

        While the slots are being found out, a whole wave goes out, and nothing more until it is back.
        """
        if self._wave_size:
            return 0 if len(self._wave) >= self._wave_size else self._wave_size
        return max(1, min(int(self._slots) + 1, self._most))

    @property
    def least(self) -> float:
        """Seconds of the shortest request so far: about what any request costs, however small."""
        return 0.0 if math.isinf(self._least) else self._least

    @property
    def largest(self) -> float:
        """Units of the largest request to risk now."""
        return (FIRST_GROWTH if self._wave_size else GROWTH) * self._largest

    def backlog(self, now: float) -> float:
        """Seconds until what is in flight should be done."""
        if not self.in_flight:
            return 0.0
        rate = self.rate(now)
        return max(0.1 * self.in_flight_units / rate, self.in_flight_units / rate - (now - self._mark))

    def wait(self, now: float) -> float:
        """Seconds until a request sent now would be worked on."""
        return 0.0 if self.in_flight < round(self._slots) else self.backlog(now)

    def silence(self, now: float) -> float:
        """Seconds since the last answer, while something is in flight."""
        return now - self._mark if self.in_flight else 0.0
