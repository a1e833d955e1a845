"""Claims on texts: of the threads of one process, only one at a time has a text embedded; the others wait for it.

Without this, a page that stands in hundreds of files would be embedded once for each bundle under way.
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

Outcome = Vectors | TextError | None
"""What became of a claimed text; None where its claimant gave up."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """How texts are shared out between this thread and others.

    Attributes:
        mine: By text, what must be given an outcome before the claim ends.
        others: By text, what another thread has under way. Wait for it after the claim, not within.
    """

    mine: dict[str, Future[Outcome]]
    others: dict[str, Future[Outcome]]


class SingleFlight:
    """What the threads of this process have under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[VectorSalt, str], Future[Outcome]] = {}

    @contextmanager
    def of(self, texts: Sequence[str], salt: VectorSalt) -> Iterator[Reserved]:
        """Claim the texts that nobody has; those left without an outcome at the end are given up."""
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
            for outcome in mine.values():
                if not outcome.done():
                    outcome.set_result(None)
