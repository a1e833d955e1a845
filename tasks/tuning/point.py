"""Settings of a node with what it did under them, and which of them to take: the least that loses next to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# A setting is good enough that reaches this part of the best one's rate.
NEAR = 0.97

# With one request in flight a node has nothing to do while its answer is on the way and read. On a quiet machine
# that may not show, in a run it does.
IN_FLIGHT_LEAST = 2

# Smaller requests gain nothing but shorter waits; they cost this side's time, which a cluster shares.
TEXTS_LEAST = 8


@dataclass(frozen=True, slots=True)
class Point:
    """What a node did under one setting.

    Attributes:
        in_flight: Requests under way all the time.
        texts: Texts in each.
        texts_per_second: Its rate.
        p50: Median seconds of a request.
        p95: 95th percentile of the same.
        seconds: Time that the rate was measured over.
    """

    in_flight: int
    texts: int
    texts_per_second: float
    p50: float
    p95: float
    seconds: float

    @property
    def setting(self) -> tuple[int, int]:
        """Requests in flight and texts in each."""
        return self.in_flight, self.texts

    @property
    def load(self) -> tuple[int, int]:
        """What a smaller setting has less of: texts under way, then requests."""
        return self.in_flight * self.texts, self.in_flight

    def joined(self, other: Point) -> Point:
        """This and another measurement of the same setting as one."""
        seconds = self.seconds + other.seconds
        mine, its = self.seconds / seconds, other.seconds / seconds
        return Point(
            self.in_flight,
            self.texts,
            mine * self.texts_per_second + its * other.texts_per_second,
            mine * self.p50 + its * other.p50,
            max(self.p95, other.p95),
            seconds,
        )


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was found of a node.

    Attributes:
        points: All settings that were measured, in rising order.
        chosen: The one to take.
        stopped: What the node said to a setting that it did not take; empty where it took all.
        in_flight_explored: Whether the time did to find how many requests at once it needs.
        texts_explored: The same of the texts in each.
    """

    points: tuple[Point, ...]
    chosen: Point
    stopped: str = ""
    in_flight_explored: bool = True
    texts_explored: bool = True

    @property
    def explored(self) -> bool:
        """Whether both numbers were explored."""
        return self.in_flight_explored and self.texts_explored


def candidates(points: Sequence[Point], *, longest: float) -> list[Point]:
    """The settings between which the choice is.

    Args:
        points: What was measured; at least one.
        longest: Seconds that 95 of 100 requests may take at most. If all take longer, the shortest is left.
    """
    fit = [point for point in points if point.p95 <= longest]
    # Small requests, and single ones, are for nodes on which more takes too long.
    for in_flight, texts in (IN_FLIGHT_LEAST, TEXTS_LEAST), (IN_FLIGHT_LEAST, 1), (1, 1):
        if usual := [point for point in fit if point.in_flight >= in_flight and point.texts >= texts]:
            return usual
    return [min(points, key=lambda point: (point.p95, point.load))]


def choose(points: Sequence[Point], *, longest: float) -> Point:
    """The smallest setting that is good enough; see `candidates`."""
    left = candidates(points, longest=longest)
    best = max(point.texts_per_second for point in left)
    return min(
        (point for point in left if point.texts_per_second >= NEAR * best), key=lambda point: point.load
    )
