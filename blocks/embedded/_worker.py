"""One thread that embeds requests in order (FIFO), while the event loop stays free.

A request is served completely before the next one. Before each text the thread checks whether its client still waits,
so a client that disconnects costs at most one text.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from prefect_ollama.blocks.embedded._model import EmbeddingModel
from prefect_ollama.blocks.embedded._request import EmbedRequest, Refused

T = TypeVar("T")


class EmbeddingWorker:
    """Runs a loaded model for many requests, one text at a time. No other code may run the model."""

    def __init__(self, model: EmbeddingModel) -> None:
        self._model = model
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embed")
        self._closing = threading.Event()

    async def embed(self, request: EmbedRequest) -> tuple[list[npt.NDArray[np.float32]], int]:
        """Return the vectors of one request's texts, float32 of norm 1, and their tokens after cuts.

        Cancelling this also cancels the remaining texts.

        Raises:
            Refused: A text is longer than the context, and the request forbids to cut it.
        """
        unwanted = threading.Event()

        def work() -> tuple[list[npt.NDArray[np.float32]], int]:
            # All texts are encoded first, so that a request with a text that is too long costs no forward pass.
            ids = [self._encode(text, request) for text in self._while_wanted(request.texts, unwanted)]
            vectors = [self._model.embed(each) for each in self._while_wanted(ids, unwanted)]
            return [_cut(each, request.dimension) for each in vectors], sum(map(len, ids))

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            unwanted.set()

    def close(self) -> None:
        """Stop after the present text, and drop the queue."""
        self._closing.set()
        self._thread.shutdown(cancel_futures=True)

    def _while_wanted(self, items: list[T], unwanted: threading.Event) -> Iterator[T]:
        for item in items:
            if unwanted.is_set() or self._closing.is_set():
                raise CancelledError
            yield item

    def _encode(self, text: str, request: EmbedRequest) -> list[int]:
        ids = self._model.tokenizer.encode(text)
        if len(ids) <= request.context:
            return ids
        if not request.truncate:
            raise Refused(400, "the input length exceeds the context length")
        return [*ids[: request.context - 1], ids[-1]]


def _cut(vector: npt.NDArray[np.float32], dimension: int) -> npt.NDArray[np.float32]:
    if dimension == len(vector):
        return vector
    part = vector[:dimension]
    return part / np.linalg.norm(part)
