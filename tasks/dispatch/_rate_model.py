"""The rate model of one node: the time that a request takes there, and the time at which its slots will be free.

The time of a request is an overhead plus a time for each unit. The overhead and the time of a unit are fitted to the
requests so far. The weight of older requests fades, so the model follows a node that slows down or recovers. Answers
that stream show the rate with their first tokens. From rate and slots follows the time at which each slot will be free.
Source for learning rates from the work itself: weighted factoring (Hummel et al. 1996, doi:10.1145/237502.237576).
"""

import heapq
import math

from prefect_ollama.tasks.dispatch._linear_fit import LinearFit
from prefect_ollama.tasks.dispatch._slot_measurement import Sent, SlotMeasurement

# Seconds of work over which the weight of a request in the fit fades: a slower node is noticed within a few requests.
FIT_MEMORY_S = 3.0

# Seconds within which requests count as sent together.
SENT_TOGETHER_S = 0.02

# Seconds in which the remembered longest pause of a node halves: a node that shares its machine pauses again.
PAUSE_HALF_LIFE_S = 60.0

# A request is at most this many times as large as the largest that the node has finished: the first estimate comes
# from canary texts, which are short, and may be far off for long requests.
MAX_SIZE_GROWTH = 12.0

# If the parts of an answer show more work than estimated, the work of the whole answer is estimated as this many times
# that work. The rest is not known, and an estimate of 0 would mean that the answer ends now.
UNDERESTIMATE_FACTOR = 1.2


class RateModel:
    """Measures what requests cost on one node. Times are monotonic, in seconds.

    Args:
        units: Work of a request whose time is known already (of the canary texts).
        seconds: Time of that request.
        most: Highest number of requests in flight.
        slots: How many requests the node serves at once, if an earlier run measured it.
        proven: Whether the time was measured on this node.

    Attributes:
        waves: How many requests it serves at once, as far as is known.
    """

    def __init__(
        self, units: float, seconds: float, most: int, slots: int | None = None, *, proven: bool = False
    ) -> None:
        self._most = most
        self._proven = proven
        self._mark = 0.0
        self._heard = 0.0
        self._silent = 0.0
        self._pause = 0.0
        self._paused_at = 0.0
        self._sent: list[Sent] = []
        self.start_over(units, seconds, slots)

    def start_over(self, units: float, seconds: float, slots: int | None = None) -> None:
        """Forget everything except one known request: the node was gone and may be another machine now."""
        self.waves = SlotMeasurement(self._most, slots)
        self._fit = LinearFit(units, seconds)
        self._guess = True
        self._proven_unit_seconds = self._fit.unit_seconds
        self._largest = units

    def sent(self, now: float, units: float, *, judged: bool = True) -> Sent:
        """Note a request that goes out now; `judged` says whether it may show how many slots there are."""
        if not self._sent:
            self._mark = now
            # The silence goes on where it stopped: sending a new request does not make a silent node answer.
            self._heard = now - self._silent
        note = Sent(now, units)
        self._sent.append(note)
        if judged:
            self.waves.sent(note, len(self._sent) - 1)
        self._take_up(now)
        return note

    def dropped(self, now: float, note: Sent) -> None:
        """Learn from a request that ended without an answer.

        The time that it took so far is a lower bound of the time that it would have taken, a censored observation (J.
        Tobin 1958, doi:10.2307/1907382). The time of a dropped request counts only if it is longer than expected.
        Without it the next request, sized by the same estimate, would be dropped in the same way.
        """
        self._sent.remove(note)
        self.waves.lost(note)
        if note.begun is not None and now - note.begun > self.expected(note.units):
            self._note_pause(now, note)
            self._learn(note.units, now - note.begun)
        self._mark = now
        if not self._sent:
            self._silent = now - self._heard  # a node does not become less silent by being asked less
        self._take_up(now)

    def heard(self, now: float, note: Sent, units: float) -> None:
        """Learn from a part of an answer: the node lives, serves this request now, and has done `units` of it."""
        note.heard = units
        # A request turns out larger than was estimated, and never smaller.
        note.units = max(note.units, UNDERESTIMATE_FACTOR * units)
        self._heard, self._silent = now, 0.0
        if note.begun is None and note in self._sent:
            note.begun = now
            self.waves.served_at_once(self._serving)
        if self._guess and note.begun == note.at and now > note.at:
            # The rate is known long before the first answer ends, and other nodes may wait for it.
            self._fit = LinearFit(units, now - note.at)
        self.waves.heard()

    def finished(self, now: float, note: Sent) -> float:
        """Learn from an answer, and return the seconds since the one before it, or since the node had work."""
        self._sent.remove(note)
        self._put_right(now, note)
        self._heard, self._silent = now, 0.0
        if not self._guess:
            self._note_pause(now, note)
        self._largest = max(self._largest, note.units)
        served = self.waves.finished(now, note)
        if served is None:
            served = [(note, now - (self._mark if note.begun is None else note.begun))]
        for each, seconds in served:
            self._learn(each.units, seconds)
        busy, self._mark = now - self._mark, now
        self._take_up(now)
        return busy

    @property
    def slots(self) -> int:
        """How many requests the node serves at once, as far as is known."""
        return self.waves.slots

    @property
    def limit(self) -> int:
        """Requests to have in flight."""
        return self.waves.limit(len(self._sent))

    @property
    def largest(self) -> float:
        """Maximum units of the next request."""
        return MAX_SIZE_GROWTH * self._largest

    @property
    def overhead(self) -> float:
        """Seconds that every request costs, independent of its size."""
        return self._fit.overhead

    @property
    def proof_error(self) -> float | None:
        """Seconds of a unit in requests, as a multiple of those in the proof; None without a proof or an answer."""
        return (
            self._fit.unit_seconds / self._proven_unit_seconds if self._proven and not self._guess else None
        )

    def unit_seconds(self, now: float) -> float:
        """Return the seconds of a slot for a unit. They grow while a request takes longer than expected."""
        learned = self._fit.unit_seconds
        for note in self._sent:
            if note.begun is not None:  # the oldest one
                return learned * max(1.0, (now - note.begun) / self.expected(note.units))
        return learned

    def expected(self, units: float) -> float:
        """Return the expected seconds of a slot for a request."""
        return self._fit.overhead + units * self._fit.unit_seconds

    def free(self, now: float, proof_error: float = 1.0) -> list[float]:
        """Return the seconds until each slot has served its requests in flight, in rising order.

        Before the first answer the node counts as one that serves its whole wave at once. If it serves less, the other
        nodes took too little, and take the rest later. If they took too much, this node would be idle at the end.

        Args:
            proof_error: The `proof_error` of other nodes, for a node that has none yet.
        """
        if self._guess and (wave := self.waves.wave):
            lates = (now - note.at - proof_error * self.expected(note.units) for note in wave)
            return sorted(max(-late, late) for late in lates)
        return sorted(self._schedule(now)[0])

    def due(self, now: float, note: Sent) -> float:
        """Return the seconds until a request in flight should be done; they grow again when it is late."""
        return self._schedule(now)[1][note]

    def silence(self, now: float) -> float:
        """Return the seconds with something in flight since the last answer."""
        return now - self._heard if self._sent else 0.0

    def pause(self, now: float) -> float:
        """Return the most seconds by which a recent request took longer than expected.

        The pause is long for a node that works in bursts. TCP uses the variation of round trips in the same way for its
        retransmission timer (RFC 6298, section 2).
        """
        return self._pause * math.exp2(-max(now - self._paused_at, 0.0) / PAUSE_HALF_LIFE_S)

    def _note_pause(self, now: float, note: Sent) -> None:
        late = 0.0 if note.begun is None else now - note.begun - self.expected(note.units)
        if late > self.pause(now):
            self._pause, self._paused_at = late, now

    @property
    def _serving(self) -> int:
        return sum(note.begun is not None for note in self._sent)

    def _take_up(self, now: float) -> None:
        waiting = [note for note in self._sent if note.begun is None]
        for note in waiting[: max(self.slots - self._serving, 0)]:
            note.begun = now

    def _put_right(self, now: float, note: Sent) -> None:
        """Exchange the start of a request with one that was sent together with it, if the answer times say so.

        Requests that are sent together may overtake each other on their way to the node.
        """
        together = (other for other in self._sent if abs(other.at - note.at) < SENT_TOGETHER_S)
        peers = [other for other in together if other.begun is not None]
        if not peers:
            return
        start = now - self.expected(note.units)
        best = min(peers, key=lambda other: abs((other.begun or 0.0) - start))
        if note.begun is None or abs((best.begun or 0.0) - start) < abs(note.begun - start):
            note.begun, best.begun = best.begun, note.begun

    def _schedule(self, now: float) -> tuple[list[float], dict[Sent, float]]:
        ends: dict[Sent, float] = {}
        for note in self._sent:
            if note.begun is not None:
                late = now - note.begun - self.expected(note.units)
                # A late request is expected to need as long again as it is late; without a measured rate, as long again
                # as it has taken. There is no better estimate.
                ends[note] = max(-late, now - note.begun if self._guess else late)
        free = [*ends.values(), *[0.0] * (self.slots - len(ends))]
        heapq.heapify(free)
        for note in self._sent:
            if note.begun is None:
                ends[note] = free[0] + self.expected(note.units)
                heapq.heapreplace(free, ends[note])
        return free, ends

    def _learn(self, units: float, seconds: float) -> None:
        if self._guess:
            self._guess = False  # the canaries are shorter than real texts
            self._fit = LinearFit(units, seconds)
            return
        # With several slots, that many requests run in the same time, so each of them counts for less of it.
        self._fit.add(units, seconds, math.exp(-seconds / self.slots / FIT_MEMORY_S))
