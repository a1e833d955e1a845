"""Single flight for texts: only one thread of a process at a time embeds a text, and the others wait for its vector.

Without this, a page that is in hundreds of files would be embedded once for each bundle in progress.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from prefect_ollama.blocks.cache import VectorSalt
from prefect_ollama.blocks.errors import TextError
from prefect_ollama.blocks.nodes import Vectors

# The outcome of a claimed text; None if its claimant gave up.
Outcome = Vectors | TextError | None


@dataclass(frozen=True, slots=True)
class Reserved:
    """The texts of this thread and of others.

    Attributes:
        mine: The texts that this thread must embed, with the futures to set before the claim ends.
        others: The texts that another thread embeds, with their futures. Wait for them after the claim: two threads
            that waited within would wait for each other.
    """

    mine: dict[str, Future[Outcome]]
    others: dict[str, Future[Outcome]]


class SingleFlight:
    """The texts that threads of this process embed at present."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[VectorSalt, str], Future[Outcome]] = {}

    @contextmanager
    def of(self, texts: Sequence[str], salt: VectorSalt) -> Iterator[Reserved]:
        """Claim the texts that no other thread embeds. Texts without an outcome at the end get None."""
        with self._lock:
            others = {text: self._open[salt, text] for text in texts if (salt, text) in self._open}
            mine: dict[str, Future[Outcome]] = {text: Future() for text in texts if text not in others}
            self._open |= {(salt, text): outcome for text, outcome in mine.items()}
        try:
            yield Reserved(mine, others)
        finally:
            with self._lock:
                for text in mine:
                    del self._open[salt, text]
            # After the claim is gone: a thread that wakes up may claim the text at once.
            for outcome in mine.values():
                if not outcome.done():
                    outcome.set_result(None)
