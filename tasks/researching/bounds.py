"""The limits of a research: steps, tokens and seconds."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from prefect_ollama.blocks.documents import Bound
from prefect_ollama.blocks.option import check_bounds, option

# Share of tokens and of seconds that only the synthesis may use, so that what was found is also written down.
SYNTHESIS_SHARE: Final = 0.25

# Steps that only the synthesis may use: to write it, and to judge it.
SYNTHESIS_STEPS: Final = 2


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a research may take.

    Raises:
        ConfigurationError: A number is out of its limits.
    """

    # To judge all sentences of a draft is one call. Of fewer than three steps, the synthesis would take all.
    steps: int = option(
        60,
        "Steps",
        "Maximum number of calls of chat models. Each draft, judging, criticism and text is one call.",
        ge=3,
        le=10_000,
    )
    tokens: int = option(
        200_000,
        "Tokens",
        "Maximum number of tokens that chat models read and write.",
        ge=1_000,
        le=100_000_000,
    )
    seconds: float = option(
        900, "Seconds", "Maximum time in seconds, from the first step on.", ge=1, le=86_400
    )

    def __post_init__(self) -> None:
        check_bounds(self, state="Nothing was asked.")


class BoundReached(Exception):
    """A limit allows no further step."""

    def __init__(self, bound: Bound) -> None:
        super().__init__(bound)
        self.bound = bound


class Budget:
    """The rest of the limits. Several threads may use it.

    A step reserves the tokens that it may need at most, and gives back what it did not need. So the limit of tokens
    holds even if many steps are in progress.

    Attributes:
        bounds: The limits.
        steps: Steps that were begun.
        tokens: Tokens that were used.
        ended_by: The limit that refused the first step; empty if none did.
    """

    def __init__(self, bounds: Bounds, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.bounds = bounds
        self.steps = 0
        self.tokens = 0
        self.ended_by: Bound = ""
        self._clock = clock
        self._start = clock()
        self._reserved = 0
        # Parts are researched in threads of their own.
        self._changed = threading.Condition()

    def seconds_left(self, *, last: bool) -> float:
        """Return the seconds that a step may take.

        Args:
            last: Whether it is a step of the synthesis.
        """
        share = 1.0 if last else 1.0 - SYNTHESIS_SHARE
        return self._start + share * self.bounds.seconds - self._clock()

    def reserve(self, tokens: int, *, last: bool) -> None:
        """Begin a step. The call waits while steps in progress may still give back the tokens that it needs.

        Args:
            tokens: Maximum number of tokens that it may use.
            last: Whether it is a step of the synthesis.

        Raises:
            BoundReached: A limit does not allow it.
        """
        share = 1.0 if last else 1.0 - SYNTHESIS_SHARE
        most_tokens = int(share * self.bounds.tokens)
        most_steps = self.bounds.steps - (0 if last else SYNTHESIS_STEPS)
        with self._changed:
            while True:
                left = self.seconds_left(last=last)
                if left <= 0:
                    raise self._reached("seconds")
                if self.steps >= most_steps:
                    raise self._reached("steps")
                if self.tokens + self._reserved + tokens <= most_tokens:
                    break
                # Nothing that is given back can make room for this step.
                if self.tokens + tokens > most_tokens or not self._reserved:
                    raise self._reached("tokens")
                self._changed.wait(left)
            self.steps += 1
            self._reserved += tokens

    def settle(self, reserved: int, used: int) -> None:
        """End a step."""
        with self._changed:
            self._reserved -= reserved
            self.tokens += used
            self._changed.notify_all()

    def timed_out(self) -> BoundReached:
        """Return the error of a step that took longer than it may."""
        with self._changed:
            return self._reached("seconds")

    def _reached(self, bound: Bound) -> BoundReached:
        # The first one is the cause; the steps after it fail because of it.
        self.ended_by = self.ended_by or bound
        return BoundReached(bound)
