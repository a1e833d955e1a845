"""The search for the best number of requests in flight and of texts in each, without a measurement of all combinations.

Guarantees: the search ends when its time is over, after the measurement in progress. It skips each setting that must
take longer than allowed, and each setting above one that took too long or that the node refused.
"""

import time
from collections.abc import Awaitable, Callable, Iterable

from prefect_ollama.blocks.errors import NodeError
from prefect_ollama.tasks.tuning.measured_settings import (
    GOOD_ENOUGH_SHARE,
    MIN_IN_FLIGHT,
    MIN_TEXTS,
    Point,
    Tuning,
    candidates,
    choose,
)

# The settings that may be tried. They grow by factors, because a rate grows less and less with each further request.
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
IN_FLIGHT = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)

# A larger setting counts as a gain if its rate is this many times the best so far: less is within the noise.
MIN_GAIN = 1.015

# If the last step gained less than this, larger settings, for which there was no time, would gain little.
SMALL_GAIN = 1.1

# Settings in a row without a gain, after which larger ones are not tried.
STEPS_WITHOUT_GAIN = 2

# Maximum number of measurements of a setting.
MAX_MEASUREMENTS = 3

# Measurements for which the time should suffice; each gets this part of it.
PLANNED_MEASUREMENTS = 24

# Answers for each request in flight in a measurement at least.
MIN_ANSWERS_A_REQUEST = 3

# A setting is sure to take too long if its time, in proportion to a smaller one's, exceeds the limit by this factor.
TOO_LONG_FACTOR = 1.5


# Measures a setting: requests in flight, texts in each, and for how many seconds, longer if few answers come. A
# `NodeError` says that the node refused a request.
Measure = Callable[[int, int, float], Awaitable[Point]]


async def search(
    measure: Measure, *, seconds: float, longest: float, now: Callable[[], float] = time.monotonic
) -> Tuning:
    """Find the smallest setting with which a node reaches nearly its full rate.

    It first raises the number in flight with small requests, which show soonest how many the node serves at once.
    Then it raises the size with that number, and lowers the number again, because fewer of the larger requests may
    suffice. The time that is left goes into further measurements of the best settings.

    Args:
        measure: Measures one setting.
        seconds: Time for the search.
        longest: Maximum seconds for 95 of 100 requests.
        now: The clock.

    Raises:
        NodeError: The node refuses even a single text.
    """
    field = _Field(measure, seconds, longest, now)
    first = await field.measure(1, 1)
    assert first is not None
    slow = first.p50 * MIN_IN_FLIGHT * MIN_TEXTS > longest
    size = 1 if slow else MIN_TEXTS
    numbers = await field.up((many, size) for many in IN_FLIGHT if many >= MIN_IN_FLIGHT)
    many = field.chosen.in_flight
    sizes = await field.up((many, each) for each in SIZES if each > size)
    size = field.chosen.texts
    await field.down((each, size) for each in reversed(IN_FLIGHT) if MIN_IN_FLIGHT <= each < many)
    await field.up((each, size) for each in IN_FLIGHT if each > many)
    await field.measure(1, size)
    await field.again()
    return Tuning(
        tuple(sorted(field.points.values(), key=lambda point: point.setting)),
        field.chosen,
        field.stopped,
        in_flight_explored=numbers,
        texts_explored=sizes,
    )


class _Field:
    """The measurements of a node so far."""

    def __init__(self, measure: Measure, seconds: float, longest: float, now: Callable[[], float]) -> None:
        self.points: dict[tuple[int, int], Point] = {}
        self.stopped = ""
        self._measure = measure
        self._longest = longest
        self._now = now
        self._end = now() + seconds
        self._window = seconds / PLANNED_MEASUREMENTS
        self._walls: list[tuple[int, int]] = []
        self._late = False  # whether there was no time to measure the last setting

    @property
    def chosen(self) -> Point:
        """The best setting so far."""
        return choose(list(self.points.values()), longest=self._longest)

    @property
    def best(self) -> float:
        """The highest rate of the candidates, 0 before there is one."""
        if not self.points:
            return 0.0
        left = candidates(list(self.points.values()), longest=self._longest)
        return max(point.texts_per_second for point in left)

    async def measure(self, in_flight: int, texts: int) -> Point | None:
        """Return the measurement of a setting; None if it is not tried or was refused."""
        known = self.points.get((in_flight, texts))
        return known or await self._ask(in_flight, texts)

    async def up(self, settings: Iterable[tuple[int, int]]) -> bool:
        """Measure larger and larger settings as long as they gain something.

        Returns:
            False if the time was over before the gain was.
        """
        idle, gain = 0, SMALL_GAIN
        for setting in settings:
            before = self.best
            point = await self.measure(*setting)
            if point is None:
                return not self._late or gain < SMALL_GAIN
            gain = point.texts_per_second / before if before else SMALL_GAIN
            idle = 0 if point.texts_per_second > MIN_GAIN * before else idle + 1
            if idle == STEPS_WITHOUT_GAIN:
                return True
        return True

    async def down(self, settings: Iterable[tuple[int, int]]) -> None:
        """Measure ever smaller settings while their rates are good enough."""
        for setting in settings:
            point = await self.measure(*setting)
            if point is None or point.texts_per_second < GOOD_ENOUGH_SHARE * self.best:
                return

    async def again(self) -> None:
        """Measure the best candidates again, those with the fewest measurements first."""
        times = dict.fromkeys(self.points, 1)
        while True:
            near = [
                point
                for point in candidates(list(self.points.values()), longest=self._longest)
                if times[point.setting] < MAX_MEASUREMENTS
                and (
                    point.texts_per_second == self.best
                    or (
                        point.load <= self.chosen.load
                        and point.texts_per_second >= GOOD_ENOUGH_SHARE**2 * self.best
                    )
                )
            ]
            if not near:
                return
            point = min(near, key=lambda each: (times[each.setting], each.load))
            times[point.setting] += 1
            if await self._ask(*point.setting) is None:
                return

    async def _ask(self, in_flight: int, texts: int) -> Point | None:
        if not self._worth_trying(in_flight, texts):
            return None
        try:
            found = await self._measure(in_flight, texts, self._window)
        except NodeError as error:
            if not self.points:
                raise
            self._walls.append((in_flight, texts))
            self.stopped = f"{in_flight} × {texts}: {error}"
            return None
        known = self.points.get(found.setting)
        found = found if known is None else known.joined(found)
        self.points[found.setting] = found
        if found.p95 > self._longest:
            self._walls.append(found.setting)
        return found

    def _worth_trying(self, in_flight: int, texts: int) -> bool:
        self._late = False
        if any(in_flight >= wall[0] and texts >= wall[1] for wall in self._walls):
            return False
        left = self._end - self._now()
        smaller = (p for p in self.points.values() if p.in_flight <= in_flight and p.texts <= texts)
        expected = min((p.p50 * (in_flight / p.in_flight) * (texts / p.texts) for p in smaller), default=0.0)
        if expected > TOO_LONG_FACTOR * self._longest:
            return False
        # A measurement of more than half of the time left would leave too little time for other settings.
        self._late = left <= 0 or MIN_ANSWERS_A_REQUEST * expected > left / 2
        return not self._late
