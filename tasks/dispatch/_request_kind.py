"""The interface of a kind of request: the cost of a payload, how it is sent, and how answers are checked.

Queue, scheduling, breaker, hedging and shared limits use only these interfaces. The kinds are embedding
(`_embedding_kind`), chat (`_chat_kind`) and reranking (`_rerank_kind`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from prefect_ollama.blocks.errors import NodeAnswerError, NodeError, NodeRefused, PrefectOllamaError
from prefect_ollama.blocks.nodes import NodeSpec

if TYPE_CHECKING:
    from prefect_ollama.tasks.dispatch._job import Item
    from prefect_ollama.tasks.dispatch._node import Node
    from prefect_ollama.tasks.dispatch._request import Request


class Client(Protocol):
    """A connection to one node."""

    node: NodeSpec

    async def aclose(self) -> None:
        """Close it."""


class Reply(Protocol):
    """The answer to one request, as a client checked it."""

    @property
    def tokens(self) -> int:
        """Tokens that the node counted; 0 if it did not report them."""


@dataclass(frozen=True, slots=True)
class Carried:
    """Further payloads of a request, which check answers of nodes. The carried payloads come after the request's own.

    Attributes:
        checks: The checks of other nodes' answers; the first payloads are theirs.
    """

    payloads: Sequence[Any] = ()
    units: float = 0.0
    checks: Sequence[Any] = ()


@dataclass(slots=True)
class Findings:
    """The result of a check: confirmed answers, nodes that failed it, and items that cannot be checked any more."""

    confirmed: list[tuple[Node, Request, Reply]] = field(default_factory=list)
    failed_checks: list[tuple[Node, NodeAnswerError]] = field(default_factory=list)
    lost: list[tuple[Node, list[Item]]] = field(default_factory=list)


class AnswerCheck:
    """Decides when an answer may be handed to its caller.

    This base class confirms every answer at once, for kinds of request whose client has checked it. A request holds one
    item.
    """

    def room(self, node: Node) -> int:
        """Return how many items the next request to a node may hold besides the checks that it carries."""
        return 1

    def check_cost(self, node: Node, now: float) -> float:
        """Return the units that a node's next request will carry, if it takes the last items that wait."""
        return 0.0

    def plan_end(self, seconds: float, next_units: float, now: float) -> float:
        """Prepare for the end of the work, and return the units of the checks that will be needed then.

        Args:
            seconds: Expected time until the end.
            next_units: Units of the next item.
        """
        return 0.0

    def to_carry(self, node: Node, items: Sequence[Item], now: float, *, left: float, last: bool) -> Carried:
        """Return the checks that a request with these items carries.

        Args:
            left: Units that still wait.
            last: Whether the node probably gets no request after those that are sent now.
        """
        return Carried()

    def pending_checks(self, now: float, *, last: bool) -> tuple[Sequence[tuple[Node, Carried]], Findings]:
        """Return the requests that only hold checks, and the answers that cannot be checked any more."""
        return (), Findings()

    def needs(self, request: Request) -> bool:
        """Return whether a request holds checks that are still needed, even if its items are not."""
        return False

    def arrived(self, node: Node, request: Request, reply: Any) -> Findings:
        """Take an answer, and return what it confirms or refutes."""
        return Findings(confirmed=[(node, request, reply)])

    def failed(self, request: Request, *, cancelled: bool) -> Findings:
        """Note that a request has no answer, so its checks have to be made again."""
        return Findings()

    def verified(self, node: Node, answers: int) -> list[tuple[Node, Request, Reply]]:
        """Return the answers of a node that are confirmed because it passed a probe, sent after so many answers."""
        return []

    def discard_unverified(self, node: Node) -> list[Item]:
        """Discard the unconfirmed answers of a node, and return their items."""
        return []


class RequestKind(ABC):
    """One kind of request to the nodes of a cluster. By default a request holds one item, and is confirmed at once.

    Attributes:
        name: Its name where kinds share something, such as the slots of a node; empty for embedding.
        first_units: Units of the request whose time is known for each verified node.
        proves_rates: Whether that time is measured on each node, and not assumed.
        loads: Whether a verified node may still have to load the model.
        work: The work of nodes, as it follows "No node has" in the error of a cluster that does nothing.
    """

    name: ClassVar[str]
    first_units: ClassVar[float]
    proves_rates: ClassVar[bool] = False
    loads: ClassVar[bool] = True
    work: ClassVar[str]

    @abstractmethod
    def connect(self, node: NodeSpec) -> Client:
        """Return a client of a node. The client is used and closed in the running event loop."""

    @abstractmethod
    def proven_seconds(self, node: str) -> float | None:
        """Return the seconds of `first_units` on a node; None for a node that is not verified."""

    def left_out(self, node: str) -> NodeError | None:
        """Return why a node is not verified, if that is known."""
        return None

    def most_items(self, node: NodeSpec) -> int:
        """Return how many items a request to a node may hold."""
        return 1

    def answer_check(self, nodes: Sequence[Node], now: float) -> AnswerCheck:
        """Return the check for answers of these nodes."""
        return AnswerCheck()

    @abstractmethod
    def send(
        self, client: Any, payloads: Sequence[Any], *, timeout: float, progress: Callable[[float], None]
    ) -> Coroutine[Any, Any, Reply]:
        """Send one request, and return its answer or raise a `NodeError`.

        Args:
            timeout: Seconds until the answer, or until its first part if it comes in parts.
            progress: Called with the units of work so far, each time that a part comes.
        """

    def actual_units(self, reply: Any, estimated: float) -> float:
        """Return the measured work of a request; `estimated` is the estimate from before it was sent.

        By default it is the estimate, because nodes differ in how they count tokens.
        """
        return estimated

    def results(self, reply: Any) -> Iterable[Any]:
        """Return the results of a reply, in the order of its payloads."""
        return (reply,)

    @abstractmethod
    async def probe(self, client: Any, *, timeout: float, refused: NodeRefused | None) -> float:
        """Check that a node that failed works again, and return the seconds of `first_units`, or raise a `NodeError`.

        Args:
            timeout: Seconds of each call.
            refused: The refusal of the probe before; None if there was none.
        """

    @abstractmethod
    def final_error(self, item: Item, errors: Sequence[NodeError]) -> PrefectOllamaError:
        """Return the error of an item that failed alone on every node that works, by their errors (at least one)."""
