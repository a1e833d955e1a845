"""Speed that comes in bursts: another program uses the node's machine, and the node works in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bursts:
    """A node works for `duty * period` seconds, then stands still for the rest of the period, and so on.

    Attributes:
        duty: Part of the time in which it works, above 0 to 1.
        period: Seconds of a burst and the pause after it.
        phase: Seconds of the first period that lie before the time 0.
    """

    duty: float = 1.0
    period: float = 1.0
    phase: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no node can be.

        Raises:
            ValueError: when it never works, or has no period.
        """
        if not 0 < self.duty <= 1 or not self.period > 0:
            raise ValueError(f"duty must lie between 0 and 1 and period above 0, got {self}")

    def worked(self, until: float) -> float:
        """Seconds in which it worked since its first period began."""
        periods, rest = divmod(until + self.phase, self.period)
        return periods * self.duty * self.period + min(rest, self.duty * self.period)

    def end(self, begin: float, work: float) -> float:
        """When `work` seconds of work are done that begin at `begin`."""
        if self.duty == 1 or work <= 0:
            return begin + max(work, 0.0)
        burst = self.duty * self.period
        periods, rest = divmod(self.worked(begin) + work, burst)
        if rest <= 1e-9:  # it ends with a burst
            periods, rest = periods - 1, burst
        return max(begin, periods * self.period + rest - self.phase)


ALWAYS = Bursts()
"""No pauses."""


def least_time(work: float, nodes: Sequence[tuple[float, Bursts]], begin: float = 0.0) -> float:
    """Return the seconds that some work takes when every node is busy whenever it can work.

    Args:
        work: The work, in units.
        nodes: Units a second of each node in a burst, and its bursts.
        begin: When the work begins.
    """

    def done(seconds: float) -> float:
        return sum(rate * (bursts.worked(begin + seconds) - bursts.worked(begin)) for rate, bursts in nodes)

    early, late = 0.0, 1.0
    while done(late) < work:
        early, late = late, 2 * late
    for _ in range(50):
        middle = (early + late) / 2
        early, late = (early, middle) if done(middle) >= work else (middle, late)
    return late
