"""Jobs: the payloads of one caller. Each of its items gets exactly one result or one error.

The first answer for an item wins, and later answers change nothing. Each kind of request has its own subclass of
`Job`, which says what an item costs and keeps the results.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from prefect_ollama.blocks.errors import ClusterError, NodeError, PrefectOllamaError

if TYPE_CHECKING:
    from prefect_ollama.tasks.dispatch._node import Node

R = TypeVar("R")

# Assumed bytes of a token, to estimate the work of a text before a node has counted its tokens.
BYTES_A_TOKEN: Final = 4.0

# The remedy for a text that is not valid Unicode.
DECODE_AGAIN: Final = "Decode its source with errors='replace'."


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """The failures of one node with an item that was alone in its request, with the sum of their scores.

    Attributes:
        texts: How many items the node had answered by then.
        repeated: Whether there was more than one failure.
    """

    error: NodeError
    weight: float
    texts: int
    repeated: bool


def unicode_fault(text: str) -> str:
    """Return why no JSON can carry a text; empty if it can."""
    try:
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as error:
        return f"it is no valid Unicode, so no JSON can carry it ({error.reason} at {error.start})."
    return ""


@dataclass(eq=False, slots=True)
class Item:
    """One payload of a job. The class has `__slots__`, because a run holds up to hundreds of thousands of items.

    Attributes:
        units: Estimated work, in units of the kind of request.
        limit: Items that a request with it may hold; halved when such a request failed.
        failures: Failures with the payload alone, by node.
        copies: Requests in flight that hold it and are not overdue.
        held: Unconfirmed answers for it.
        counted: The node that counts it among its texts.
        done: Whether it has its result or its error.
    """

    job: Job[Any]
    index: int
    payload: Any
    units: float
    limit: int
    failures: dict[str, FailureRecord] = field(default_factory=dict)
    copies: int = 0
    waiting: bool = False
    held: int = 0
    counted: Node | None = None
    done: bool = False

    @property
    def answered(self) -> bool:
        """Whether the item has an answer, confirmed or not, and so needs no node at present."""
        return self.done or self.held > 0

    @property
    def sent(self) -> Any:
        """The payload as a node gets it."""
        return self.job.prepared(self.payload)

    def count_for(self, node: Node | None) -> None:
        """Count it for one node, the one whose answer is used; it is waste of all others that answered it."""
        for counting, change in ((self.counted, -1), (node, 1)):
            if counting is not None:
                counting.texts += change
                counting.wasted -= change
        self.counted = node


class Job(ABC, Generic[R]):
    """The payloads of one caller. Subclasses set what `cost` needs before they call this constructor.

    Args:
        urgent: Whether they go before all others.
        limit: Items that a request may hold.
        avoid: Names of nodes that get an item only if no other node works, or each other one failed on it.

    Attributes:
        may_hedge: Whether an idle node may repeat a request that another node has.
        left: Items with neither result nor error.
        failures: Errors of items, by index.
        seconds: Node seconds of the results so far.
        tokens: Tokens that nodes counted for them.
        future: Gets the result, or the error of a job that could not be finished.
    """

    def __init__(
        self, payloads: Sequence[Any], *, urgent: bool, limit: int, avoid: frozenset[str] = frozenset()
    ) -> None:
        self.avoid = avoid
        self.items = [Item(self, at, each, self.cost(each), limit) for at, each in enumerate(payloads)]
        self.urgent = urgent
        self.may_hedge = True
        self.left = len(self.items)
        self.failures: dict[int, Any] = {}
        self.seconds = 0.0
        self.tokens = 0
        self.future: Future[R] = Future()

    @abstractmethod
    def cost(self, payload: Any) -> float:
        """Return the work that a payload means for a node, in units of its kind."""

    def prepared(self, payload: Any) -> Any:
        """Return the payload as a node gets it."""
        return payload

    @abstractmethod
    def keep(self, index: int, result: Any, node: str) -> None:
        """Keep the result of an item."""

    @abstractmethod
    def result(self) -> R:
        """Return the result, as far as it exists."""

    @abstractmethod
    def unfinished(self, why: str, remedy: str) -> ClusterError:
        """Return the error of a job that ends with items left; it carries the results so far."""

    def revalue(self) -> bool:
        """Estimate the work of open items by the answers so far; return whether an estimate changed."""
        return False

    def settle(self, item: Item, result: Any, node: str, share: tuple[float, int]) -> None:
        """Give an item its result, and add its share of the request's seconds and tokens."""
        self.keep(item.index, result, node)
        self.seconds += share[0]
        self.tokens += share[1]
        self._finish(item)

    def refuse(self, item: Item, error: PrefectOllamaError) -> None:
        """Give an item its error."""
        self.failures[item.index] = error
        self._finish(item)

    def fail(self, why: str, remedy: str) -> None:
        """End the job with an error that carries the results so far."""
        if self.future.done():
            return
        # Before `drop`, which forgets how many items are left.
        error = self.unfinished(why, remedy)
        self.drop()
        self.future.set_exception(error)

    def drop(self) -> None:
        """Mark all items as done, so that no node gets them."""
        for item in self.items:
            item.done = True
        self.left = 0

    def close(self) -> None:
        """Set the result, if no item is left."""
        if self.left == 0 and not self.future.done():
            self.future.set_result(self.result())

    def _finish(self, item: Item) -> None:
        item.done = True
        self.left -= 1
