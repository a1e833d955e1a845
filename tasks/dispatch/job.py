"""A job is what one caller handed in; its items are the texts. An item gets exactly one vector or one error.

The first answer for an item wins, and later ones change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from prefect_ollama.blocks.errors import PrefectOllamaError, TextError
from prefect_ollama.blocks.wire.answer import Vectors


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """What became of a list of texts.

    Attributes:
        vectors: float32 of shape (texts, dimension), in the order of the texts. The rows of failed texts
            are NaN; `failures` names them.
        failures: By place in the list, why a text has no vector. Empty when all went well.
        nodes: Name of the node that embedded each text, empty for a failed one.
        node_seconds: Seconds of node time that went into the texts' vectors.
        tokens: Tokens that the nodes counted, 0 where they do not say.
    """

    vectors: Vectors
    failures: dict[int, TextError]
    nodes: tuple[str, ...]
    node_seconds: float
    tokens: int


class Item:
    """One text under way.

    Attributes:
        units: Estimated work, in tokens plus what a text costs by itself.
        limit: Most texts of a request that it may travel in; shrinks when such a request failed.
        accused: By node, how heavily it failed on this text alone while being well otherwise.
        copies: Requests in flight that hold it.
        queued: Whether it stands in the queue.
        done: Whether it has its vector or its error.
    """

    __slots__ = ("accused", "copies", "done", "index", "job", "limit", "queued", "text", "units")

    def __init__(self, job: Job, index: int, text: str, limit: int) -> None:
        self.job = job
        self.index = index
        self.text = text
        self.units = estimate_units(text)
        self.limit = limit
        self.accused: dict[str, float] = {}
        self.copies = 0
        self.queued = False
        self.done = False


class Job:
    """One caller's texts, on their way to an `Embedded`."""

    def __init__(self, texts: Sequence[str], dimension: int, *, urgent: bool, limit: int) -> None:
        self.items = [Item(self, index, text, limit) for index, text in enumerate(texts)]
        self.urgent = urgent
        self.left = len(self.items)
        self.future: Future[Embedded] = Future()
        self._vectors = np.full((len(texts), dimension), np.nan, dtype=np.float32)
        self._failures: dict[int, TextError] = {}
        self._nodes = [""] * len(texts)
        self._seconds = 0.0
        self._tokens = 0

    def settle(self, item: Item, vector: Vectors, node: str) -> None:
        """Give an item its vector."""
        self._vectors[item.index] = vector
        self._nodes[item.index] = node
        self._finish(item)

    def refuse(self, item: Item, error: TextError) -> None:
        """Give an item its error."""
        self._failures[item.index] = error
        self._finish(item)

    def charge(self, seconds: float, tokens: int) -> None:
        """Add a share of a request's cost."""
        self._seconds += seconds
        self._tokens += tokens

    def fail(self, error: PrefectOllamaError) -> None:
        """End the job without a result."""
        self.drop()
        if not self.future.done():
            self.future.set_exception(error)

    def drop(self) -> None:
        """Take all its items out of the work."""
        for item in self.items:
            item.done = True
        self.left = 0

    def close(self) -> None:
        """Hand the result over, once nothing is left."""
        if self.left == 0 and not self.future.done():
            self.future.set_result(
                Embedded(self._vectors, self._failures, tuple(self._nodes), self._seconds, self._tokens)
            )

    def _finish(self, item: Item) -> None:
        item.done = True
        self.left -= 1


def estimate_units(text: str) -> float:
    """Work that a text means for a node: some 4 bytes a token, and 16 tokens' worth for any text at all."""
    return 16.0 + len(text.encode("utf-8", "surrogatepass")) / 4.0
