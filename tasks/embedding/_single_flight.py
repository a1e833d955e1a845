"""Single flight for texts: only one thread of a process at a time embeds a text, and the others wait for its vector.

Without this, a page that is in hundreds of files would be embedded once for each bundle in progress.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from prefect_ollama.blocks.cache import VectorSalt
from prefect_ollama.blocks.errors import TextError
from prefect_ollama.blocks.nodes import Vectors

# The outcome of a claimed text; None if its claimant gave up.
Outcome = Vectors | TextError | None


# Texts with the futures of their outcomes.
Claims = dict[str, Future[Outcome]]


class SingleFlight:
    """The texts that threads of this process embed at present."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[VectorSalt, str], Future[Outcome]] = {}

    @contextmanager
    def of(self, texts: Sequence[str], salt: VectorSalt) -> Iterator[tuple[Claims, Claims]]:
        """Claim the texts that no other thread embeds, and yield the claimed texts and the other texts.

        This thread must embed the claimed texts and set their futures; a future without an outcome at the end gets
        None. Wait for the other texts after the claim has ended: two threads that wait within their claims would wait
        for each other.
        """
        with self._lock:
            others = {text: self._open[salt, text] for text in texts if (salt, text) in self._open}
            mine: Claims = {text: Future() for text in texts if text not in others}
            self._open |= {(salt, text): outcome for text, outcome in mine.items()}
        try:
            yield mine, others
        finally:
            with self._lock:
                for text in mine:
                    del self._open[salt, text]
            # After the claim is gone: a thread that wakes up may claim the text at once.
            for outcome in mine.values():
                if not outcome.done():
                    outcome.set_result(None)
