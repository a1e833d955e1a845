"""A job is what one caller handed in; each of its items gets exactly one result or one error.

The first answer for an item wins, and later ones change nothing. What an item holds and costs, and what becomes of
the results, is a matter of the kind of request: each has its own subclass of `Job`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from prefect_ollama.blocks.errors import ClusterError, NodeError, PrefectOllamaError

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """The failures of one node with an item that was alone in its request.

    Attributes:
        error: The last error.
        weight: How much the failures count, in sum.
        texts: How many items it had answered by then.
    """

    error: NodeError
    weight: float
    texts: int


class Item:
    """One payload under way.

    Attributes:
        payload: What the caller handed in.
        units: Estimated work.
        limit: Most items of a request that it may travel in; halved when such a request failed.
        failures: Failures with the payload alone, by node.
        copies: Requests in flight that hold it and are not overdue.
        waiting: Whether it stands in the queue.
        held: Answers for it that are unconfirmed.
        done: Whether it has its result or its error.
    """

    __slots__ = ("copies", "done", "failures", "held", "index", "job", "limit", "payload", "units", "waiting")

    def __init__(self, job: Job[Any], index: int, payload: Any, limit: int) -> None:
        self.job = job
        self.index = index
        self.payload = payload
        self.units = job.cost(payload)
        self.limit = limit
        self.failures: dict[str, FailureRecord] = {}
        self.copies = 0
        self.waiting = False
        self.held = 0
        self.done = False

    @property
    def answered(self) -> bool:
        """Whether it needs no node any more, as far as is known."""
        return self.done or self.held > 0

    @property
    def sent(self) -> Any:
        """The payload as a node gets it."""
        return self.job.prepared(self.payload)


class Job(ABC, Generic[R]):
    """One caller's payloads, on their way to a result. Subclasses set what `cost` needs before they call this.

    Args:
        payloads: The payloads.
        urgent: Whether they go before all others.
        limit: Items that a request may hold.

    Attributes:
        may_hedge: Whether an idle node may do again what another one is doing.
        left: Items with neither result nor error.
        future: Gets the result, or the error of a job that could not be finished.
    """

    def __init__(self, payloads: Sequence[Any], *, urgent: bool, limit: int) -> None:
        self.items = [Item(self, index, payload, limit) for index, payload in enumerate(payloads)]
        self.urgent = urgent
        self.may_hedge = True
        self.left = len(self.items)
        self.future: Future[R] = Future()

    @abstractmethod
    def cost(self, payload: Any) -> float:
        """Return the work that a payload means for a node, in units of its kind."""

    @abstractmethod
    def prepared(self, payload: Any) -> Any:
        """Return the payload as a node gets it."""

    @abstractmethod
    def keep(self, index: int, result: Any, node: str) -> None:
        """Keep the result of an item."""

    @abstractmethod
    def keep_error(self, index: int, error: PrefectOllamaError) -> None:
        """Keep the error of an item."""

    @abstractmethod
    def charge(self, seconds: float, tokens: int) -> None:
        """Add a share of a request's cost."""

    @abstractmethod
    def result(self) -> R:
        """Return what there is of the result."""

    @abstractmethod
    def unfinished(self, why: str, remedy: str) -> ClusterError:
        """Return the error of a job that ends with items left; it carries what is done."""

    def settle(self, item: Item, result: Any, node: str) -> None:
        """Give an item its result."""
        self.keep(item.index, result, node)
        self._finish(item)

    def refuse(self, item: Item, error: PrefectOllamaError) -> None:
        """Give an item its error."""
        self.keep_error(item.index, error)
        self._finish(item)

    def fail(self, why: str, remedy: str) -> None:
        """End the job as it stands."""
        if self.future.done():
            return
        error = self.unfinished(why, remedy)
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
            self.future.set_result(self.result())

    def _finish(self, item: Item) -> None:
        item.done = True
        self.left -= 1
