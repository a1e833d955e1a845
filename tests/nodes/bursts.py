"""Speed that comes in bursts: another program uses the node's machine, and the node works in between."""

from __future__ import annotations

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
        return periods * self.period + rest - self.phase


ALWAYS = Bursts()
"""No pauses."""
