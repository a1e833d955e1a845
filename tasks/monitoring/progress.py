"""The progress of a run, and its expected end, from the work that is left and the rate of the last minute.

A document counts when all of it is embedded. Before that, the texts that nodes have embedded count with the mean
bytes of a text so far, so that the bar moves while the first bundles are in progress.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from prefect_ollama.tasks.reporting import RunStatistics

# Seconds over which the rate is measured.
RATE_WINDOW_S = 60.0

# Seconds of work before the end of the run is estimated.
FIRST_ESTIMATE_S = 3.0

# First estimate of the bytes of a file for each text, and its weight, as if it were measured with this many texts.
FIRST_BYTES_A_TEXT = 512.0
FIRST_TEXTS = 64


# The files that are done, also failed ones, and their counters.
Done = tuple[int, RunStatistics]


@dataclass(frozen=True, slots=True)
class ProgressState:
    """The progress of a run.

    Attributes:
        documents: Files done.
        of_documents: Files in all.
        size: Bytes done.
        of_size: Bytes in all.
        part: Part of the work that is done, 0 to 1; it never decreases.
        left: Seconds until the end; None if unknown.
    """

    documents: int
    of_documents: int
    size: int
    of_size: int
    part: float
    left: float | None


class Progress:
    """Follows a run.

    Args:
        documents: Files in all.
        size: Bytes in all.
        done: Returns the files that are done; called from the thread that updates the progress.
    """

    def __init__(self, documents: int, size: int, done: Callable[[], Done]) -> None:
        self._documents, self._size, self._done = documents, size, done
        self._part = 0.0
        self._seen: deque[tuple[float, float]] = deque()
        self._moved = 0.0

    def look(self, now: float, texts: int) -> ProgressState:
        """Return how far the run is.

        Args:
            now: Seconds of a monotonic clock.
            texts: Texts that nodes have embedded, also for documents that are not done.
        """
        documents, done = self._done()
        worth = (done.size + FIRST_TEXTS * FIRST_BYTES_A_TEXT) / (done.chunks + FIRST_TEXTS)
        ahead = max(texts - done.embedded, 0) * worth
        whole = max(self._size, 1)
        if documents >= self._documents:
            part = 1.0
        else:
            part = min((done.size + min(ahead, 0.95 * (whole - done.size))) / whole, 1.0)
        # A bar that goes back looks broken, and the estimate of a text's bytes may sink.
        if part > self._part:
            self._part, self._moved = part, now
        self._seen.append((now, self._part))
        while len(self._seen) > 2 and self._seen[1][0] < now - RATE_WINDOW_S:
            self._seen.popleft()
        return ProgressState(
            documents, self._documents, done.size, self._size, self._part, self._seconds_left(now)
        )

    def _seconds_left(self, now: float) -> float | None:
        if self._part >= 1:
            return 0.0
        since, before = self._seen[0]
        if now - since < FIRST_ESTIMATE_S or self._part <= before:
            return None
        left = (1 - self._part) * (now - since) / (self._part - before)
        # The last texts may be the slowest. Without progress for longer than the estimate, the estimate was wrong.
        return left if left >= now - self._moved else None
