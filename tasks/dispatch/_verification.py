"""Evidence, while nodes work, that they give right vectors in the right order: no answer is believed without it.

An answer is held until evidence comes with it or after it from the same node: a canary text in a request that
has its known vector, or one of its texts that another node, proven by a canary in the same breath, gives the
same vector. What a node gave before evidence against it is thrown away and embedded elsewhere.

Evidence with a request speaks for that one and for what the node served before it. That is not what was sent before
it: two requests on their way together may arrive in either order.

A canary costs a text, so one travels with every few hundred texts, and at least every few seconds. When nothing
waits any more a slow node's last answer is checked by a quick one, so that nobody waits for a slow canary.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from prefect_ollama.blocks.errors import NodeAnswerError
from prefect_ollama.blocks.nodes import SHORT, Answer, Fingerprint, Vectors, cosine, least_cosine
from prefect_ollama.tasks.dispatch._checks import ONE_CANARY, CarriedChecks, Check
from prefect_ollama.tasks.dispatch._job import Item
from prefect_ollama.tasks.dispatch._node import Node, Request
from prefect_ollama.tasks.dispatch._request_kind import Findings, Reply

EVERY = 3.0
"""Seconds of a node's work that wait for evidence, at most, while more work comes."""

FIRST_UNITS, EVERY_UNITS = 6_000.0, 25_000.0
"""The same in units, at the start of a node's work and, doubling, later: a canary costs a tenth of a percent of
that. So what a node did is soon believed, also should all nodes go."""

SAME_TEXT = 0.999
"""Least cosine of two nodes' vectors of a chunk. Canaries show which model a node has, and a chunk may differ more than
they do; this bound shows mixed up and corrupted answers."""

TRIES = 3
"""Other nodes' failures with texts of one answer after which it is thrown away, if its node is gone."""

MEAN_UNITS = 5 * ONE_CANARY
"""What a chunk of usual length is worth, about."""


@dataclass(eq=False, slots=True)
class _Page:
    """One node's part of the book.

    Attributes:
        at: When evidence about it was last asked for.
        units: Work sent to it since.
        most: Units of work until the next one.
        right: The last request that it is known to have been right with.
        held: Answers that wait for evidence.
        errands: What it is to embed for others with its next request.
    """

    at: float
    units: float = 0.0
    most: float = FIRST_UNITS
    right: Request | None = None
    held: dict[Request, Answer] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    def since(self, now: float) -> None:
        """Evidence is on its way; count from now."""
        self.at, self.units, self.most = now, 0.0, min(2 * self.most, EVERY_UNITS)

    def carry(self, now: float, *, canaries: int) -> CarriedChecks:
        """What goes out now, with the errands."""
        carried = CarriedChecks(tuple(self.checks), canaries)
        self.checks.clear()
        self.since(now)
        return carried


class Verification:
    """The book of answers that wait for evidence.

    Args:
        lanes: All nodes.
        reference: The fingerprint of the model.
        now: The time.
    """

    def __init__(self, nodes: Sequence[Node], reference: Fingerprint, now: float) -> None:
        self._canaries = [reference.canary(text) for text in SHORT]
        self._least = least_cosine(reference, reference)
        self._pages = {node: _Page(now) for node in nodes}
        self._carried: dict[Request, CarriedChecks] = {}
        self._checks: dict[Request, Check] = {}
        self._tries: dict[Request, int] = {}
        self._lost: list[tuple[Node, list[Item]]] = []

    # ---- sending

    def room(self, node: Node) -> int:
        """Texts that the next request to a node may hold beside what it carries."""
        return max(_most(node) - 1 - len(self._pages[node].checks), 1)

    def check_cost(self, node: Node, now: float) -> float:
        """Units that a node's next request will carry, if it takes the last texts that wait."""
        self._plan(now)
        checks = self._pages[node].checks
        mine = checks or node is self._quickest(now)
        return sum(check.item.units for check in checks) + (ONE_CANARY if mine else 0.0)

    def to_carry(self, node: Node, items: Sequence[Item], now: float, *, last: bool) -> CarriedChecks:
        """What a request with these texts is to carry.

        Args:
            lane: Its node.
            items: Its texts.
            now: The time.
            last: Whether no more texts wait.
        """
        page = self._pages[node]
        page.units += sum(item.units for item in items)
        if any(item.job.urgent or item.failures for item in items):
            return CarriedChecks()  # a query waits for nothing, and a text under suspicion goes alone
        quickest = self._quickest(now)
        due = page.units >= page.most or now - page.at >= EVERY
        if due and quickest is not None and _much_quicker(quickest, node, now):
            due = False
            self._plan(now, [node])
        if last:
            self._plan(now)
            due = due or node is quickest
        if not (due or page.checks) or len(items) + len(page.checks) >= _most(node):
            return CarriedChecks()
        return page.carry(now, canaries=1)

    def pending_checks(self, now: float, *, last: bool) -> tuple[list[tuple[Node, CarriedChecks]], Findings]:
        """Requests with evidence alone, for answers that would wait too long for it otherwise, and what is lost.

        Args:
            now: The time.
            last: Whether no more texts wait.
        """
        alone = self._plan(now, [node for node in self._pages if last or not node.works])
        lost, self._lost = self._lost, []
        found: list[tuple[Node, CarriedChecks]] = []
        for node, page in self._pages.items():
            # Errands of nodes that go on working may wait for a request with texts.
            wanted = node in alone or (page.checks and (last or not all(e.node.works for e in page.checks)))
            if wanted and len(node.requests) < node.client.node.max_in_flight:
                canaries = 1 if page.checks else min(2, _most(node))
                found.append((node, page.carry(now, canaries=canaries)))
        return found, Findings(lost=lost)

    def sent(self, request: Request, carried: CarriedChecks) -> None:
        """Note what a request carries that is on its way."""
        if carried.canaries:
            self._carried[request] = carried

    def needs(self, request: Request) -> bool:
        """Whether a request brings evidence that somebody waits for, also where nobody waits for its texts."""
        carried = self._carried.get(request, CarriedChecks())
        return any(self._checks.get(check.request) is check for check in carried.checks)

    # ---- answers

    def arrived(self, node: Node, request: Request, answer: Answer) -> Findings:
        """Take in an answer, and say what it shows.

        Args:
            lane: Its node.
            request: What it answers.
            answer: The vectors of its texts, and of what it carries.
        """
        found = Findings()
        if request.items and request.items[0].job.urgent:
            found.confirmed.append((node, request, answer))
            return found
        page = self._pages[node]
        if request.items:
            page.held[request] = answer
        carried = self._carried.pop(request, CarriedChecks())
        extra = answer.vectors[len(request.items) :]
        canaries = extra[len(carried.checks) :]
        if any(cosine(one, self._canaries[at]) < self._least for at, one in enumerate(canaries)):
            self._uncheck(carried.checks)
            found.failed_checks.append((node, _wrong_vector(node, "a canary text")))
            return found
        if carried.canaries:
            found.confirmed += self._confirm(node, request)
        elif page.right is not None and _confirms(node, page.right, request):
            found.confirmed += self._confirm(node, page.right)
        for check, vector in zip(carried.checks, extra, strict=False):
            check.vector = vector
            self._compare(check, found)
        if (own_check := self._checks.get(request)) is not None and own_check.vector is not None:
            self._compare(own_check, found)
        return found

    def failed(self, request: Request, *, cancelled: bool) -> Findings:
        """Note that a request brought no answer: what it was to show has to be shown in another way."""
        found = Findings()
        self._checks.pop(request, None)
        carried = self._carried.pop(request, CarriedChecks())
        self._uncheck(carried.checks)
        for check in () if cancelled else carried.checks:
            tries = self._tries[check.request] = self._tries.get(check.request, 0) + 1
            held = self._pages[check.node].held
            if tries >= TRIES and not check.node.works and check.request in held:
                del held[check.request], self._tries[check.request]
                found.lost.append((check.node, check.request.items))
        return found

    def verified(self, node: Node) -> list[tuple[Node, Request, Reply]]:
        """A node has proven itself anew: what it gave before may be handed on."""
        return self._confirm(node, None)

    def discard_unverified(self, node: Node) -> list[Item]:
        """Throw away what a node gave since the last evidence for it; return the texts."""
        page = self._pages[node]
        items = [item for request in page.held for item in request.items]
        for request in page.held:
            self._forget(request)
        page.held.clear()
        self._uncheck(page.checks)
        page.checks.clear()
        return items

    # ---- the book

    def _plan(self, now: float, nodes: Collection[Node] | None = None) -> set[Node]:
        """Give the quickest node errands for the answers that have no evidence on its way.

        Args:
            now: The time.
            lanes: Nodes whose answers they are; all of them if none is named.

        Returns:
            Nodes that had better be sent a canary by itself.
        """
        alone: set[Node] = set()
        by = self._quickest(now)
        for node in self._pages if nodes is None else nodes:
            page = self._pages[node]
            if not node.works:
                self._uncheck(page.checks)
                page.checks.clear()
            for request in self._unchecked(node):
                if node.works and (by is None or by is node or request in self._tries or _most(by) < 2):
                    alone.add(node)
                elif by is not None and _most(by) < 2:
                    self._lost.append((node, self.discard_unverified(node)))  # nobody can check it
                    break
                elif by is not None and len(self._pages[by].checks) < _most(by) - 1:
                    index = self._tries.get(request, 0) % len(request.items)
                    check = self._checks[request] = Check(node, request, index)
                    self._pages[by].checks.append(check)
                    page.since(now)
        return alone

    def _unchecked(self, node: Node) -> list[Request]:
        """The requests that neither have evidence nor will have it by what is under way; the last ones first."""
        page = self._pages[node]
        open_ones = list(page.held)
        if node.works:
            under_way = (request for request in node.requests if request.items and not request.overdue)
            open_ones += (request for request in under_way if not request.items[0].job.urgent)
        known = [*page.held, *node.requests]
        checked = [request for request in known if request in self._carried or request in self._checks]
        checked += [page.right] if page.right is not None else []
        found: list[Request] = []
        for request in sorted(open_ones, key=lambda request: request.number, reverse=True):
            if not any(_confirms(node, one, request) for one in checked):
                found.append(request)
                checked.append(request)
        return found

    def _quickest(self, now: float) -> Node | None:
        able = (node for node in self._pages if node.works and not node.stalled())
        return min(able, key=lambda node: node.rate_model.unit_seconds(now), default=None)

    def _compare(self, check: Check, found: Findings) -> None:
        held = self._pages[check.node].held
        if check.vector is None or (answer := held.get(check.request)) is None:
            return  # it has not answered yet, or its answer is decided on
        if _same(check.vector, answer.vectors[check.index]):
            found.confirmed += self._confirm(check.node, check.request)
        else:
            found.failed_checks.append((check.node, _wrong_vector(check.node, "a text")))

    def _confirm(self, node: Node, right: Request | None) -> list[tuple[Node, Request, Reply]]:
        """Take out of those held the answers that a right one speaks for; all of them, if none is named."""
        page = self._pages[node]
        if right is not None and (page.right is None or page.right.number < right.number):
            page.right = right
        confirmed = [request for request in page.held if right is None or _confirms(node, right, request)]
        for request in confirmed:
            self._forget(request)
        return [(node, request, page.held.pop(request)) for request in confirmed]

    def _forget(self, request: Request) -> None:
        self._checks.pop(request, None)
        self._tries.pop(request, None)

    def _uncheck(self, checks: Sequence[Check]) -> None:
        for check in checks:
            if self._checks.get(check.request) is check:
                del self._checks[check.request]


def _confirms(node: Node, right: Request, other: Request) -> bool:
    """Whether a node that was right with one request was so with another one.

    First come is first served: what was sent before it and answered before it was served before it. What was sent
    before it and answered after it was overtaken on the way, and served after it, but by a node that serves
    several side by side.
    A single text shows nothing of the order in which a node gives back several.
    """
    if other is right:
        return True
    if right.texts == 1 and other.texts > 1:
        return False
    return other.number < right.number and (other.answered <= right.answered or node.rate_model.side_by_side)


def _much_quicker(one: Node, other: Node, now: float) -> bool:
    """Whether a text costs one node less than a canary costs another."""
    return one.rate_model.unit_seconds(now) * MEAN_UNITS < other.rate_model.unit_seconds(now) * ONE_CANARY


def _most(node: Node) -> int:
    return node.client.node.max_request_texts


def _same(a: Vectors, b: Vectors) -> bool:
    return cosine(a, b) >= SAME_TEXT


def _wrong_vector(node: Node, what: str) -> NodeAnswerError:
    return NodeAnswerError(
        f"gave {what} another vector than it should have, in the middle of the work.",
        node=node.name,
        remedy="Look for a proxy that mixes up answers, or for a model that was changed there. What it gave since "
        "it was last right is embedded elsewhere.",
    )
