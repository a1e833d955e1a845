"""A job is what one caller handed in; its items are the texts. An item gets exactly one vector or one error.

The first answer for an item wins, and later ones change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from prefect_ollama.blocks.errors import ClusterError, NodeError, TextError
from prefect_ollama.blocks.wire.answer import Vectors


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """What became of a list of texts.

    Attributes:
        vectors: float32 of shape (texts, dimension), in the order of the texts. The rows of failed texts
            are NaN; `failures` names them.
        failures: By place in the list, why a text has no vector. Empty when all went well.
        nodes: Name of the node that embedded each text, empty for one without a vector.
        node_seconds: Seconds of node time that went into the texts' vectors.
        tokens: Tokens that the nodes counted, 0 where they do not say.
    """

    vectors: Vectors
    failures: dict[int, TextError]
    nodes: tuple[str, ...]
    node_seconds: float
    tokens: int


class Unfinished(ClusterError):
    """The nodes could not finish a list of texts.

    Args:
        embedded: What was done before, to be kept by the caller. Texts with neither vector nor failure are
            those that are left.
    """

    def __init__(self, cause: str, *, left: int, embedded: Embedded, remedy: str) -> None:
        super().__init__(cause, left=left, state=f"{left} texts are left.", remedy=remedy)
        self.embedded = embedded


@dataclass(frozen=True, slots=True)
class Accusation:
    """A node's word against a text that it was given alone.

    Attributes:
        error: What it said, or how it failed.
        weight: How much that counts, summed over its accusations.
        texts: How many texts it had embedded by then.
    """

    error: NodeError
    weight: float
    texts: int


class Item:
    """One text under way.

    Attributes:
        text: The text, without the prefix that its job puts before it.
        units: Estimated work, in tokens plus what a text costs by itself.
        limit: Most texts of a request that it may travel in; halved when such a request failed.
        accused: By node, what speaks against the text.
        copies: Requests in flight that hold it and are not overdue.
        waiting: Whether it stands in the queue.
        held: Answers for it that wait for evidence.
        done: Whether it has its vector or its error.
    """

    __slots__ = ("accused", "copies", "done", "held", "index", "job", "limit", "text", "units", "waiting")

    def __init__(self, job: Job, index: int, text: str, limit: int) -> None:
        self.job = job
        self.index = index
        self.text = text
        self.units = estimate_units(job.prefix + text)
        self.limit = limit
        self.accused: dict[str, Accusation] = {}
        self.copies = 0
        self.waiting = False
        self.held = 0
        self.done = False

    @property
    def answered(self) -> bool:
        """Whether it needs no node any more, as far as is known."""
        return self.done or self.held > 0

    @property
    def sent(self) -> str:
        """The text as a node gets it."""
        return self.job.prepare(self.job.prefix + self.text)


def as_it_is(text: str) -> str:
    """Return the text itself."""
    return text


class Job:
    """One caller's texts, on their way to an `Embedded`.

    Args:
        texts: The texts.
        dimension: Length of a vector.
        prefix: Put before each text when it is sent.
        urgent: Whether they go before all others.
        limit: Texts that a request may hold.
        prepare: Makes what is sent of prefix and text; the same for all jobs of a dispatcher.
    """

    def __init__(
        self,
        texts: Sequence[str],
        dimension: int,
        *,
        prefix: str,
        urgent: bool,
        limit: int,
        prepare: Callable[[str], str] = as_it_is,
    ) -> None:
        self.prefix = prefix
        self.prepare = prepare
        self.items = [Item(self, index, text, limit) for index, text in enumerate(texts)]
        self.urgent = urgent
        self.left = len(self.items)
        self.future: Future[Embedded] = Future()
        self._vectors = np.full((len(texts), dimension), np.nan, dtype=np.float32)
        self._failures: dict[int, TextError] = {}
        self._nodes = [""] * len(texts)
        self._seconds = 0.0
        self._tokens = 0
        for item in self.items:
            if not item.text.isascii() and (error := _no_unicode(item.text)) is not None:
                self.refuse(item, error)

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

    def fail(self, why: str, remedy: str) -> None:
        """End the job as it stands."""
        if self.future.done():
            return
        error = Unfinished(why, left=self.left, embedded=self._embedded(), remedy=remedy)
        self.drop()
        self.future.set_exception(error)

    def drop(self) -> None:
        """Take all its items out of the work."""
        for item in self.items:
            item.done = True
        self.left = 0

    def close(self) -> None:
        """Hand the result over, once nothing is left."""
        if self.left == 0 and not self.future.done():
            self.future.set_result(self._embedded())

    def _embedded(self) -> Embedded:
        return Embedded(self._vectors, self._failures, tuple(self._nodes), self._seconds, self._tokens)

    def _finish(self, item: Item) -> None:
        item.done = True
        self.left -= 1


def estimate_units(text: str) -> float:
    """Work that a text means for a node: some 4 bytes a token, and 16 tokens' worth for any text at all."""
    return 16.0 + len(text.encode("utf-8", "surrogatepass")) / 4.0


def _no_unicode(text: str) -> TextError | None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return TextError(
            f"it is no valid Unicode, so no JSON can carry it ({error.reason} at {error.start}).",
            text=text.encode("utf-8", "backslashreplace").decode(),
            state="It was not sent.",
            remedy="Decode its source with errors='replace'.",
        )
    return None
