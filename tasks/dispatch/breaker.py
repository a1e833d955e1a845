"""A breaker keeps a failing node from pulling work: closed (works), open (rests), half-open (is probed).

Only a probe with the canary texts closes it, so a real text is never risked on a node that may still be
failing. Waits double with each failure in a row and are cut in half by work that succeeds.
Source: M. Nygard, "Release It!", 2nd ed., ch. 5.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Literal

from prefect_ollama.blocks.errors import NodeBusy, NodeError, NodeRefused, NodeUnreachable

State = Literal["closed", "open", "half-open"]

FIRST_WAIT = 0.05
LONGEST_WAIT = 2.0
"""Seconds between two probes at most; a probe costs the node eight short texts."""

UNREACHABLE_WAIT = 0.5
"""The same for a node that is not there, where a probe costs nothing."""

MOMENT = 1.0
"""Seconds after which a node counts as gone, also while a probe of it is under way."""

MOMENTS = 4
"""Failures in a row after which it does so at once."""

REFUSED_WAIT = 2.0
"""Seconds to the first probe of a node that refuses: someone has to change something there first."""


class Breaker:
    """Breaker of one node, and the tally of its errors."""

    def __init__(self) -> None:
        self.state: State = "closed"
        self.errors: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.last: NodeError | None = None
        self.rests_until = 0.0
        self._row = 0

    def resting(self, now: float) -> bool:
        """Whether it is open for a moment only, as far as is known."""
        if self.state == "closed" or isinstance(self.last, NodeRefused):
            return False
        return self._row <= MOMENTS and now < self.rests_until

    def note(self, error: NodeError) -> None:
        """Count an error; requests that were under way when it opened may still bring some."""
        self.last = error
        self.errors[error.cause] += 1
        self.kinds[error.kind] += 1

    def trip(self, error: NodeError, now: float) -> float:
        """Open it.

        Args:
            error: What went wrong.
            now: The time.

        Returns:
            Seconds to rest before the next probe.
        """
        if self.state == "closed" or error.cause not in self.errors:  # probes say the same again and again
            self.note(error)
        if self.state == "closed":
            self.rests_until = now + MOMENT
        self.state = "open"
        longest = UNREACHABLE_WAIT if isinstance(error, NodeUnreachable) else LONGEST_WAIT
        wait = min(FIRST_WAIT * 2.0**self._row, longest)
        self._row = min(self._row + 1, 16)
        if isinstance(error, NodeRefused):
            wait = max(wait, REFUSED_WAIT)
        wait *= random.uniform(0.8, 1.2)
        if isinstance(error, NodeBusy) and error.retry_after is not None:
            wait = max(wait, min(error.retry_after, 60.0))
        return wait

    def half_open(self) -> None:
        """A probe goes out."""
        self.state = "half-open"

    def close(self) -> None:
        """The probe passed."""
        self.state = "closed"

    def progress(self) -> None:
        """A real request succeeded: forgive half of the failures in a row."""
        self._row //= 2
