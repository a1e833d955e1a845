"""The circuit breaker of a node: closed (it works), open (it rests), half-open (it is probed).

Only a probe closes the breaker, so no real text is risked on a node that may still fail. The waits double with each
failure in a row, and successful work halves the count of failures.
Source: M. Nygard, "Release It!", 2nd ed., ch. 5.
"""

import random
import time
from collections import Counter
from typing import Literal

from prefect_ollama.blocks.errors import NodeBusy, NodeError, NodeRefused, NodeUnreachable

State = Literal["closed", "open", "half-open"]

# Seconds before the first probe: short, so that a node that failed once loses little work.
FIRST_PROBE_WAIT_S = 0.05

# Longest wait between two probes in seconds; a probe costs the node eight short texts.
MAX_PROBE_WAIT_S = 2.0

# Longest wait in seconds for a node that does not answer: a probe costs it nothing, and it soon works when it is back.
MAX_UNREACHABLE_WAIT_S = 0.5

# Seconds after which a node counts as gone, also while it is being probed.
GONE_AFTER_S = 1.0

# Failures in a row after which a node counts as gone at once.
GONE_AFTER_FAILURES = 4

# A node that was silent and passes a probe within this many seconds only paused: another program may use its machine,
# or this machine.
PAUSE_S = 30.0

# Seconds to the first probe of a node that refuses: somebody must first change something there.
REFUSED_WAIT_S = 2.0


class Breaker:
    """Breaker of one node, and the counts of its errors.

    Attributes:
        kinds: Number of errors by `NodeError.kind`, without a silence that may be a pause.
        rests_until: When the node counts as gone.
        opened: When the breaker opened last.
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
        """Number of errors by cause, with a silence that may be a pause."""
        return self._errors + Counter(error.cause for error in self._silences)

    @property
    def only_silent(self) -> bool:
        """Whether the breaker is open only because its node was silent."""
        return self.state != "closed" and bool(self._silences)

    def resting(self, now: float) -> bool:
        """Return whether the node may work again in a moment, as far as is known."""
        if self.state == "closed" or isinstance(self.last, NodeRefused):
            return False
        return self._row <= GONE_AFTER_FAILURES and now < self.rests_until

    def note(self, error: NodeError) -> None:
        """Count an error; requests that were in flight when the breaker opened may still fail."""
        # The error of a request that was in flight when the breaker opened is older than the error that opened it.
        if self.state == "closed" or not isinstance(self.last, NodeRefused):
            self.last = error
        self._confirm()
        self._errors[error.cause] += 1
        self.kinds[error.kind] += 1

    def trip(self, error: NodeError, now: float) -> float:
        """Open the breaker, and return the seconds to rest before the next probe."""
        if self.state == "closed":
            self._before, self.opened, self.rests_until = self.last, now, now + GONE_AFTER_S
            self.gone_since = time.time()
        if isinstance(error, NodeUnreachable) and error.silent and (self.state == "closed" or self._silences):
            if all(error.cause != said.cause for said in self._silences):
                self._silences.append(error)
        elif self.state == "closed" or error.cause not in self.errors:
            # Repeated probes give the same error. It counts once, but is still the newest.
            self.note(error)
        self.last = error
        self.state = "open"
        longest = MAX_UNREACHABLE_WAIT_S if isinstance(error, NodeUnreachable) else MAX_PROBE_WAIT_S
        wait = min(FIRST_PROBE_WAIT_S * 2.0**self._row, longest)
        # 0.05 s × 2^16 is far above every limit, and the power stays small.
        self._row = min(self._row + 1, 16)
        if isinstance(error, NodeRefused):
            wait = max(wait, REFUSED_WAIT_S)
        # Jitter, so that several runs do not probe a node at the same moment.
        wait *= random.uniform(0.8, 1.2)
        if isinstance(error, NodeBusy) and error.retry_after is not None:
            # At most a minute, because a gateway may send an hour, or a date far away.
            wait = max(wait, min(error.retry_after, 60.0))
        return wait

    def half_open(self) -> None:
        """Note that a probe is sent."""
        self.state = "half-open"

    def close(self, now: float, *, passed_over: bool) -> bool:
        """Close the breaker after a passed probe, and return whether the node only paused, which is not an error.

        Args:
            passed_over: Whether the node has not answered a request that it got before the probe.
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
        """Halve the count of failures in a row after a real request succeeded."""
        self._row //= 2
