"""What the dispatcher asks of a kind of request: what a payload costs, how it is sent, and how answers are checked.

Queue, scheduling, breaker, hedging and shared limits work with these interfaces alone. Embedding is one kind
(`_embedding_kind`), chat another (`_chat_kind`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from prefect_ollama.blocks.errors import NodeAnswerError, NodeError, NodeRefused, PrefectOllamaError
from prefect_ollama.blocks.nodes import NodeSpec

if TYPE_CHECKING:
    from prefect_ollama.tasks.dispatch._job import Item
    from prefect_ollama.tasks.dispatch._node import Node, Request


class Client(Protocol):
    """A connection to one node."""

    node: NodeSpec

    async def aclose(self) -> None:
        """Close it."""


class Reply(Protocol):
    """The answer to one request, as a client checked it."""

    @property
    def tokens(self) -> int:
        """Tokens that the node counted, 0 where it did not say."""


class Carried(Protocol):
    """What a request holds after its own payloads, to check the answers of nodes."""

    @property
    def payloads(self) -> Sequence[Any]:
        """As they are sent."""

    @property
    def units(self) -> float:
        """Their work."""

    @property
    def foreign(self) -> int:
        """How many of them belong to other nodes' requests."""


@dataclass(slots=True)
class Findings:
    """What a check of answers has shown.

    Attributes:
        confirmed: Answers that may be handed on.
        failed_checks: Nodes that gave a wrong answer, with the reason.
        lost: Items whose answer cannot be checked any more.
    """

    confirmed: list[tuple[Node, Request, Reply]] = field(default_factory=list)
    failed_checks: list[tuple[Node, NodeAnswerError]] = field(default_factory=list)
    lost: list[tuple[Node, list[Item]]] = field(default_factory=list)


class AnswerCheck(Protocol):
    """Decides when an answer may be handed on to its caller."""

    def room(self, node: Node) -> int:
        """Return how many items the next request to a node may hold beside what it carries."""

    def check_cost(self, node: Node, now: float) -> float:
        """Return the units that a node's next request will carry, if it takes the last items that wait."""

    def to_carry(self, node: Node, items: Sequence[Item], now: float, *, last: bool) -> Carried:
        """Return what a request with these items carries; `last` says that no more items wait."""

    def pending_checks(self, now: float, *, last: bool) -> tuple[Sequence[tuple[Node, Carried]], Findings]:
        """Return the requests that check answers alone, and the answers that cannot be checked any more."""

    def sent(self, request: Request, carried: Any) -> None:
        """Note that a request is on its way."""

    def needs(self, request: Request) -> bool:
        """Return whether a request checks others' answers, also where nobody waits for its own items."""

    def arrived(self, node: Node, request: Request, reply: Any) -> Findings:
        """Take in an answer, and return what it shows."""

    def failed(self, request: Request, *, cancelled: bool) -> Findings:
        """Note that a request brought no answer."""

    def verified(self, node: Node) -> list[tuple[Node, Request, Reply]]:
        """Return the answers of a node that may be handed on because it passed its probe."""

    def discard_unverified(self, node: Node) -> list[Item]:
        """Discard the unconfirmed answers of a node, and return their items."""


class RequestKind(Protocol):
    """One kind of request to the nodes of a cluster.

    Attributes:
        name: Its name in places that all kinds share, empty for embedding.
        first_units: Units of the request whose time is known of each proven node.
        loads: Whether a proven node may still have to load the model.
        work: What nodes do, after "No node has", for the error of a cluster that does nothing.
    """

    name: str
    first_units: float
    loads: bool
    work: str

    def connect(self, node: NodeSpec) -> Client:
        """Return a client of a node; it is used in the running event loop, and closed there."""

    def proven_seconds(self, node: str) -> float | None:
        """Return the seconds of `first_units` on a node; None for a node that has not proven itself."""

    def left_out(self, node: str) -> NodeError | None:
        """Return why a node has not proven itself, where that is known."""

    def most_items(self, node: NodeSpec) -> int:
        """Return how many items a request to a node may hold."""

    def answer_check(self, nodes: Sequence[Node], now: float) -> AnswerCheck:
        """Return what checks the answers of these nodes."""

    def send(
        self, client: Any, payloads: Sequence[Any], *, timeout: float, progress: Callable[[float], None]
    ) -> Coroutine[Any, Any, Reply]:
        """Send one request.

        Args:
            client: What `connect` returned.
            payloads: As the items' jobs and the answer check prepared them.
            timeout: Seconds until the answer must be there, or the first part of it where it comes in parts.
            progress: Called with the units of work that the parts so far show.

        Raises:
            NodeError: One of its kinds.
        """

    def actual_units(self, reply: Any, estimated: float) -> float:
        """Return the work that a request turned out to be; `estimated` is what was thought before."""

    def results(self, reply: Any) -> Iterable[Any]:
        """Return the results of a reply, in the order of its payloads."""

    async def probe(self, client: Any, *, timeout: float, refused: NodeRefused | None) -> float:
        """Let a node that failed show that it works again, and return the seconds of `first_units`.

        Args:
            client: What `connect` returned.
            timeout: Seconds of each call.
            refused: Why it was refused before.

        Raises:
            NodeError: It does not.
        """

    def final_error(self, item: Item, errors: Sequence[NodeError]) -> PrefectOllamaError:
        """Return the error of an item that failed alone on every node that works.

        Args:
            item: The item.
            errors: The errors of these nodes, at least one.
        """
