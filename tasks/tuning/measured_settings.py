"""The measured settings of a node, and the choice among them: the smallest setting that loses next to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

# A setting is good enough if it reaches this part of the best rate.
GOOD_ENOUGH_SHARE = 0.97

# With one request in flight, a node is idle while its answer is sent and read. That may not show on an idle machine,
# but it does in a run.
MIN_IN_FLIGHT = 2

# Smaller requests only give shorter waits, and cost CPU time of this process, which serves all nodes of the cluster.
MIN_TEXTS = 8


@dataclass(frozen=True, slots=True)
class Point:
    """The measurement of one setting of a node.

    Attributes:
        in_flight: Requests in flight all the time.
        texts: Texts in each request.
        texts_per_second: Rate of the node.
        p50: Median seconds of a request.
        p95: 95th percentile of the seconds of a request.
        seconds: Duration of the measurement.
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
        """The order of settings by size: texts in flight, then requests."""
        return self.in_flight * self.texts, self.in_flight

    def joined(self, other: Point) -> Point:
        """Return this and another measurement of the same setting as one."""
        seconds = self.seconds + other.seconds
        mine, its = self.seconds / seconds, other.seconds / seconds
        return replace(
            self,
            texts_per_second=mine * self.texts_per_second + its * other.texts_per_second,
            p50=mine * self.p50 + its * other.p50,
            p95=max(self.p95, other.p95),
            seconds=seconds,
        )


@dataclass(frozen=True, slots=True)
class Tuning:
    """The result of tuning a node.

    Attributes:
        points: All measured settings, in rising order.
        chosen: The best setting.
        stopped: Error of a setting that the node refused; empty if it refused none.
        in_flight_explored: Whether the time sufficed to find the number of requests in flight.
        texts_explored: Whether the time sufficed to find the number of texts in a request.
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
    """Return the settings to choose from.

    Args:
        points: The measurements; at least one.
        longest: Maximum seconds for 95 of 100 requests. If all take longer, only the fastest is left.
    """
    fit = [point for point in points if point.p95 <= longest]
    # Smaller and single requests are only for nodes on which larger ones take too long.
    for in_flight, texts in (MIN_IN_FLIGHT, MIN_TEXTS), (MIN_IN_FLIGHT, 1), (1, 1):
        if usual := [point for point in fit if point.in_flight >= in_flight and point.texts >= texts]:
            return usual
    return [min(points, key=lambda point: (point.p95, point.load))]


def choose(points: Sequence[Point], *, longest: float) -> Point:
    """Return the smallest setting that is good enough; see `candidates`."""
    left = candidates(points, longest=longest)
    best = max(point.texts_per_second for point in left)
    return min(
        (point for point in left if point.texts_per_second >= GOOD_ENOUGH_SHARE * best),
        key=lambda point: point.load,
    )
