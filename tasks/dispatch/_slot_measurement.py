"""The number of requests that a node serves at once (its slots), measured with waves.

A wave is four, eight or sixteen requests sent together; the requests beyond the slots come back later. If an earlier
run measured the number, one additional request checks it. Answers that stream show the slots with their first tokens.
"""

from dataclasses import dataclass

# Requests of the first wave. If all of them were served at once, the next wave has twice as many.
FIRST_WAVE_REQUESTS = 4

# Requests of one wave were served at once when they took less than this many times as long as the quickest.
SERVED_AT_ONCE_FACTOR = 1.5


@dataclass(slots=True, eq=False)
class Sent:
    """A request in the rate model of its node.

    Attributes:
        at: When it was sent.
        units: Its work.
        begun: Estimated time at which a slot began it; None while it waits for a slot.
        heard: Work that the parts of its answer have shown; 0 before the first one.
    """

    at: float
    units: float
    begun: float | None = None
    heard: float = 0.0


class SlotMeasurement:
    """Measures the slots of one node.

    Args:
        most: Highest number of requests in flight.
        slots: The number that an earlier run measured, if one did.

    Attributes:
        slots: How many requests it serves at once, as far as is known.
        ends_soon: Whether the node has little work left. Then its slots are measured no further, and no request waits
            there.
    """

    def __init__(self, most: int, slots: int | None) -> None:
        self._most = most
        self.ends_soon = False
        self._seen_at_once = 1
        self.slots = min(slots or 1, self._most)
        self._wave: dict[Sent, float | None] = {}
        self._size = min(slots + 1 if slots else FIRST_WAVE_REQUESTS, self._most)

    def adopt(self, slots: int) -> None:
        """Take the number of slots that others found: with their requests there, a measurement would be wrong."""
        self.slots = min(slots, self._most)
        self._end()

    @property
    def measuring(self) -> bool:
        """Whether the number is still being measured."""
        return self._size > 0

    @property
    def wave(self) -> list[Sent]:
        """The requests of the present wave."""
        return list(self._wave)

    @property
    def _may_begin(self) -> bool:
        """Whether a wave may begin. The first one always may: without it nothing is known of the slots."""
        return self.measuring and not (self.ends_soon and self.slots >= FIRST_WAVE_REQUESTS)

    def limit(self, in_flight: int) -> int:
        """Return how many requests to have in flight: one more than the slots, so that none waits for the next one.

        While the slots are measured, a whole wave goes to a node that has nothing else in flight, and nothing more
        until the wave is back.
        """
        if self._wave or self._may_begin:
            return self._size if len(self._wave) == in_flight < self._size else 0
        waiting = 0 if self.ends_soon and self.slots > 1 else 1
        return min(self.slots + waiting, self._most)

    def sent(self, note: Sent, in_flight: int) -> None:
        """Add a request to the wave, if all the others in flight are of it."""
        if self._may_begin and len(self._wave) == in_flight < self._size:
            self._wave[note] = None

    def lost(self, note: Sent) -> None:
        """Drop the wave if the request is of it."""
        if note in self._wave:
            self._wave = {}

    def served_at_once(self, serving: int) -> None:
        """Take the number of requests that parts of answers show to be served at once."""
        self._seen_at_once = max(self._seen_at_once, serving)
        self.slots = min(max(self.slots, self._seen_at_once), self._most)

    def heard(self) -> None:
        """End the wave if a part of each of its answers is here: what is beyond the slots, the next request shows."""
        if self._wave and len(self._wave) == self._size and all(each.heard for each in self._wave):
            self._end()

    def finished(self, now: float, note: Sent) -> list[tuple[Sent, float]] | None:
        """Take an answer; None if it is of no full wave.

        Returns:
            The requests that were served at once with their seconds, once all of the wave is back.
        """
        if note.heard and self.measuring:
            self._end()  # requests without a part by now have waited
        if note not in self._wave or len(self._wave) < self._size:
            self.lost(note)  # a small job did not fill it, and what comes now was not sent together with it
            return None
        self._wave[note] = now - note.at
        times = [(each, seconds) for each, seconds in self._wave.items() if seconds is not None]
        if len(times) < self._size:
            return []
        longest = SERVED_AT_ONCE_FACTOR * min(seconds / each.units for each, seconds in times)
        at_once = [(each, seconds) for each, seconds in times if seconds / each.units <= longest]
        self.slots = max(len(at_once), min(self._seen_at_once, self._most))
        self._wave = {}
        more = self.slots >= len(times) and self.slots < self._most
        self._size = min(2 * self.slots, self._most) if more else 0
        return at_once

    def _end(self) -> None:
        self._wave, self._size = {}, 0
