"""A breaker keeps a failing node from pulling work: closed (works), open (rests), half-open (is probed).

Only a probe with the canary texts closes it, so a real text is never risked on a node that may still be
failing. Waits double with each failure in a row and are cut in half by work that succeeds.
Source: M. Nygard, "Release It!", 2nd ed., ch. 5.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Literal

from prefect_ollama.blocks.errors import NodeBusy, NodeError, NodeRefused, NodeUnreachable

State = Literal["closed", "open", "half-open"]

FIRST_WAIT = 0.05

# Seconds between two probes at most; a probe costs the node eight short texts.
LONGEST_WAIT = 2.0

# The same for a node that is not there, where a probe costs nothing.
UNREACHABLE_WAIT = 0.5

# Seconds after which a node counts as gone, also while a probe of it is under way.
MOMENT = 1.0

# Failures in a row after which it does so at once.
MOMENTS = 4

# Seconds within which a node that was silent and is right again counts as one that made a pause, not as one that
# failed: another program may use its machine, or ours.
PAUSE_S = 30.0

# Seconds to the first probe of a node that refuses: someone has to change something there first.
REFUSED_WAIT = 2.0


class Breaker:
    """Breaker of one node, and the tally of its errors.

    Attributes:
        state: Closed, open or half-open.
        kinds: `NodeError.kind` to count, without what may turn out to be a pause.
        last: The last error, None while there is none.
        rests_until: When it counts as gone.
        opened: When it opened last.
        gone_since: The same by `time.time()`; None while it is closed.
    """

    def __init__(self) -> None:
        self.state: State = "closed"
        self.kinds: Counter[str] = Counter()
        self.last: NodeError | None = None
        self.rests_until = 0.0
        self.opened = 0.0
        self.gone_since: float | None = None
        self._errors: Counter[str] = Counter()
        self._silences: list[NodeUnreachable] = []
        self._before: NodeError | None = None
        self._row = 0

    @property
    def errors(self) -> Counter[str]:
        """Cause to count, with the silence that may turn out to be a pause."""
        return self._errors + Counter(error.cause for error in self._silences)

    @property
    def only_silent(self) -> bool:
        """Whether it is open for nothing but the silence of its node."""
        return self.state != "closed" and bool(self._silences)

    def resting(self, now: float) -> bool:
        """Whether it is open for a moment only, as far as is known."""
        if self.state == "closed" or isinstance(self.last, NodeRefused):
            return False
        return self._row <= MOMENTS and now < self.rests_until

    def note(self, error: NodeError) -> None:
        """Count an error; requests that were under way when it opened may still bring some."""
        self.last = error
        self._confirm()
        self._errors[error.cause] += 1
        self.kinds[error.kind] += 1

    def trip(self, error: NodeError, now: float) -> float:
        """Open it.

        Args:
            error: What went wrong.
            now: The time.

        Returns:
            Seconds to rest before the next probe.
        """
        if self.state == "closed":
            self._before, self.opened, self.rests_until = self.last, now, now + MOMENT
            self.gone_since = time.time()
        if isinstance(error, NodeUnreachable) and error.silent and (self.state == "closed" or self._silences):
            if all(error.cause != said.cause for said in self._silences):
                self._silences.append(error)
            self.last = error
        elif self.state == "closed" or error.cause not in self.errors:  # probes say the same again and again
            self.note(error)
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

    def close(self, now: float, *, passed_over: bool) -> bool:
        """The probe passed.

        Args:
            now: The time.
            passed_over: Whether the node left a request unanswered that it had before the probe.

        Returns:
            Whether the node only made a pause, which is no error.
        """
        self.state, self.gone_since = "closed", None
        pause = bool(self._silences) and not passed_over and now - self.opened <= PAUSE_S
        if pause:
            self.last = self._before
            self._silences.clear()
        self._confirm()
        return pause

    def _confirm(self) -> None:
        """Count the silence as an error."""
        for error in self._silences:
            self._errors[error.cause] += 1
            self.kinds[error.kind] += 1
        self._silences.clear()

    def progress(self) -> None:
        """A real request succeeded: forgive half of the failures in a row."""
        self._row //= 2
