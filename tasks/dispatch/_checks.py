"""Checks that an embedding request carries in addition to its own texts, and the answers that wait for a check."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from prefect_ollama.blocks.nodes import SHORT, Answer, Vectors
from prefect_ollama.tasks.dispatch._job import Item
from prefect_ollama.tasks.dispatch._node import Node
from prefect_ollama.tasks.dispatch._request import Request
from prefect_ollama.tasks.dispatch._request_kind import Carried, Reply
from prefect_ollama.tasks.dispatch.embedding import estimate_units

# Units of one canary text.
ONE_CANARY = estimate_units(SHORT[0])

# Units of answers before the first check of a node, and the most before a later one; they double each time. A canary
# costs a tenth of a percent of that. The start is small so that the first vectors are confirmed soon, even if all nodes
# fail after them. Answers count, and not requests, because a check confirms no request that is in flight beside it.
FIRST_CHECK_UNITS, CHECK_UNITS = 6_000.0, 25_000.0

# Minimum number of checks of other nodes in a request, if enough wait: each such request also carries a canary.
MIN_CHECKS = 5


@dataclass(eq=False, slots=True)
class Check:
    """A text that one node embeds to check another's answer.

    Attributes:
        node: The node that is checked.
        request: Its request.
        index: Position of the text in the request.
        vector: The vector from the checking node; None until it has answered.
    """

    node: Node
    request: Request
    index: int
    vector: Vectors | None = None

    @property
    def item(self) -> Item:
        """The text."""
        return self.request.items[self.index]


@dataclass(eq=False, slots=True)
class NodeChecks:
    """The checks of one node: its unconfirmed answers, and the texts that it has to check for others.

    Attributes:
        checked_at: When a check of it was last sent.
        unchecked_units: Units of work that it has answered since.
        next_check_units: Units of work after which the next check is sent.
        held: Answers that are unconfirmed.
        checks: Texts of other nodes that it embeds with its next request.
    """

    checked_at: float
    unchecked_units: float = 0.0
    next_check_units: float = FIRST_CHECK_UNITS
    held: dict[Request, Answer] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    def check_sent(self, now: float) -> None:
        """Count time and units from now, because a check is sent."""
        self.checked_at, self.unchecked_units = now, 0.0
        self.next_check_units = min(2 * self.next_check_units, CHECK_UNITS)

    def next_checks(self, slots: int) -> list[Check]:
        """Return the checks to send with the next request, so that the slots of the node share all checks equally."""
        return self.checks[: max(math.ceil(len(self.checks) / slots), MIN_CHECKS)]

    def carry(self, now: float, *, canaries: int, slots: int) -> Carried:
        """Return the texts to send after those of a request: of the next checks, then `canaries` canary texts."""
        checks = self.next_checks(slots)
        del self.checks[: len(checks)]
        self.check_sent(now)
        payloads = [*(check.item.sent for check in checks), *SHORT[:canaries]]
        units = sum(check.item.units for check in checks) + ONE_CANARY * canaries
        return Carried(payloads, units, tuple(checks))


def confirms(right: Request, other: Request) -> bool:
    """Return whether a checked request confirms another one.

    A checked request confirms each request that was answered before it was sent, because the node must have served
    that request before. This is true for any number of slots, and for any order that the network or this process
    gave to requests and answers. A checked request with a single text does not show in which order the node returns
    several vectors, so it confirms no request with several texts.
    """
    if other is right:
        return True
    if right.texts == 1 < other.texts:
        return False
    return other.place <= right.answers_before


class UnconfirmedAnswers:
    """The unconfirmed answers of all nodes, and the checks that are under way for them.

    Attributes:
        nodes: The checks of each node.
        checks: The checks that are under way, by the request whose answer they confirm.
        tries: How many checks of a request have failed because the checking node gave no answer.
    """

    def __init__(self, nodes: Sequence[Node], now: float) -> None:
        self.nodes = {node: NodeChecks(now) for node in nodes}
        self.checks: dict[Request, Check] = {}
        self.tries: dict[Request, int] = {}

    def unchecked(self, node: Node) -> list[Request]:
        """Return the requests that no check confirms, done or under way; the last ones first."""
        state = self.nodes[node]
        open_ones = list(state.held)
        if node.works:
            under_way = (request for request in node.requests if request.items and not request.overdue)
            open_ones += (request for request in under_way if not request.items[0].job.urgent)
        checked = [request for request in [*state.held, *node.requests] if request in self.checks]
        checked += [request for request in node.requests if request.carried.payloads]
        found: list[Request] = []
        for request in sorted(open_ones, key=lambda request: request.number, reverse=True):
            if not any(confirms(one, request) for one in checked):
                found.append(request)
                checked.append(request)
        return found

    def confirm(self, node: Node, right: Request) -> list[tuple[Node, Request, Reply]]:
        """Return the answers that a checked request confirms, and stop holding them."""
        return self.pop(node, [request for request in self.nodes[node].held if confirms(right, request)])

    def pop(self, node: Node, confirmed: Sequence[Request]) -> list[tuple[Node, Request, Reply]]:
        """Return the answers to these requests, and stop holding them."""
        self._forget(confirmed)
        return [(node, request, self.nodes[node].held.pop(request)) for request in confirmed]

    def discard(self, node: Node) -> list[Item]:
        """Forget the answers of a node and the checks that it had to make; return the items of the answers."""
        state = self.nodes[node]
        items = [item for request in state.held for item in request.items]
        self._forget(state.held)
        state.held.clear()
        self.drop_checks(state)
        return items

    def drop_checks(self, state: NodeChecks) -> None:
        """Let other nodes make the checks that a node has not begun."""
        self.uncheck(state.checks)
        state.checks.clear()

    def uncheck(self, checks: Sequence[Check]) -> None:
        """Note that these checks are not under way any more."""
        for check in checks:
            if self.checks.get(check.request) is check:
                del self.checks[check.request]

    def _forget(self, requests: Iterable[Request]) -> None:
        for request in requests:
            self.checks.pop(request, None)
            self.tries.pop(request, None)
