"""Measure the time in which this process's own event loop did not run, so that it does not count against nodes.

When a process runs again after it waited for a core or was stopped, all its timers are overdue, and answers that came
meanwhile are unread. A deadline that counted this time would blame a node for a delay of this machine.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator, Callable

# Seconds between two checks of the clock.
TICK_S = 0.1

# Seconds by which timers are late even on an idle machine.
NOISE_S = 0.02

# Number of kept gaps: those of five minutes, if each tick has one. No request is in flight for longer by default.
KEPT_LAGS = 3000

# Half-life of the longest gap in seconds: load of the machine comes and goes.
HALF_LIFE_S = 10.0


class LoopLag:
    """Watches how late the running loop is, between `start` and `stop`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._gaps: deque[tuple[float, float]] = deque(maxlen=KEPT_LAGS)
        self._longest = self._longest_at = 0.0

    def start(self) -> None:
        """Start measuring, if it was not started yet."""
        if self._timer is None:
            self._arm()

    def stop(self) -> None:
        """Stop measuring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def since(self, then: float) -> float:
        """Return the seconds since a moment in which the loop did not run."""
        lost = 0.0
        for end, seconds in reversed(self._gaps):
            if end <= then:
                break
            lost += min(seconds, end - then)
        if self._timer is not None and (late := self._loop.time() - max(self._due, then)) > NOISE_S:
            lost += late
        return lost

    def longest(self) -> float:
        """Return the longest recent gap in seconds. Its weight halves every `HALF_LIFE_S`."""
        now = self._loop.time()
        late = now - self._due if self._timer is not None else 0.0
        return max(late, self._longest * math.exp2(-(now - self._longest_at) / HALF_LIFE_S))

    def _arm(self) -> None:
        self._due = self._loop.time() + TICK_S
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        late = now - self._due
        if late > NOISE_S:
            # A gap that is longer than the faded earlier one replaces it.
            if late > self.longest() or not self._longest:
                self._longest, self._longest_at = late, now
            self._gaps.append((now, late))
        self._arm()


@contextlib.asynccontextmanager
async def timeout_while_running(seconds: float) -> AsyncIterator[Callable[[float], None]]:
    """Limit a block as `asyncio.timeout` does, by the time in which the loop ran.

    Args:
        seconds: The limit; `math.inf` sets none.

    Yields:
        A function that sets the limit again, to its argument in seconds from now.

    Raises:
        TimeoutError: The block took longer.
    """
    loop = asyncio.get_running_loop()
    left, spared = seconds, False
    timer: asyncio.TimerHandle | None = None

    def arm() -> None:
        nonlocal timer
        timer = None
        if left == math.inf:
            return
        # Short steps, because a single timer would also run while this process is stopped.
        step = min(left, TICK_S)
        timer = loop.call_later(step, tick, step, loop.time() + step)

    def tick(step: float, due: float) -> None:
        nonlocal left, spared
        left -= step
        if left <= 0 and not spared and loop.time() - due > NOISE_S:
            left, spared = TICK_S, True  # the answer may have come in the meantime, and waits to be read
        if left > 0:
            arm()
        else:
            scope.reschedule(loop.time())

    def restart(seconds: float) -> None:
        nonlocal left, spared
        left, spared = seconds, False
        if timer is None:
            arm()

    async with asyncio.timeout(None) as scope:
        arm()
        try:
            yield restart
        finally:
            if timer is not None:
                timer.cancel()
