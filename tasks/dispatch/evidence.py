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
from prefect_ollama.blocks.wire.answer import Answer, Vectors
from prefect_ollama.blocks.wire.canaries import SHORT
from prefect_ollama.blocks.wire.fingerprint import Fingerprint, cosine, least_cosine
from prefect_ollama.tasks.dispatch.errands import ONE_CANARY, Carried, Errand
from prefect_ollama.tasks.dispatch.job import Item
from prefect_ollama.tasks.dispatch.lane import Lane, Request
from prefect_ollama.tasks.dispatch.request_kind import Findings, Reply

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
    errands: list[Errand] = field(default_factory=list)

    def since(self, now: float) -> None:
        """Evidence is on its way; count from now."""
        self.at, self.units, self.most = now, 0.0, min(2 * self.most, EVERY_UNITS)

    def carry(self, now: float, *, canaries: int) -> Carried:
        """What goes out now, with the errands."""
        carried = Carried(tuple(self.errands), canaries)
        self.errands.clear()
        self.since(now)
        return carried


class Evidence:
    """The book of answers that wait for evidence.

    Args:
        lanes: All nodes.
        reference: The fingerprint of the model.
        now: The time.
    """

    def __init__(self, lanes: Sequence[Lane], reference: Fingerprint, now: float) -> None:
        self._canaries = [reference.canary(text) for text in SHORT]
        self._least = least_cosine(reference, reference)
        self._pages = {lane: _Page(now) for lane in lanes}
        self._carried: dict[Request, Carried] = {}
        self._checks: dict[Request, Errand] = {}
        self._tries: dict[Request, int] = {}
        self._lost: list[tuple[Lane, list[Item]]] = []

    # ---- sending

    def room(self, lane: Lane) -> int:
        """Texts that the next request to a node may hold beside what it carries."""
        return max(_most(lane) - 1 - len(self._pages[lane].errands), 1)

    def burden(self, lane: Lane, now: float) -> float:
        """Units that a node's next request will carry, if it takes the last texts that wait."""
        self._plan(now)
        errands = self._pages[lane].errands
        mine = errands or lane is self._quickest(now)
        return sum(errand.item.units for errand in errands) + (ONE_CANARY if mine else 0.0)

    def to_carry(self, lane: Lane, items: Sequence[Item], now: float, *, last: bool) -> Carried:
        """What a request with these texts is to carry.

        Args:
            lane: Its node.
            items: Its texts.
            now: The time.
            last: Whether no more texts wait.
        """
        page = self._pages[lane]
        page.units += sum(item.units for item in items)
        if any(item.job.urgent or item.accused for item in items):
            return Carried()  # a query waits for nothing, and a text under suspicion goes alone
        quickest = self._quickest(now)
        due = page.units >= page.most or now - page.at >= EVERY
        if due and quickest is not None and _much_quicker(quickest, lane, now):
            due = False
            self._plan(now, [lane])
        if last:
            self._plan(now)
            due = due or lane is quickest
        if not (due or page.errands) or len(items) + len(page.errands) >= _most(lane):
            return Carried()
        return page.carry(now, canaries=1)

    def owed(self, now: float, *, last: bool) -> tuple[list[tuple[Lane, Carried]], Findings]:
        """Requests with evidence alone, for answers that would wait too long for it otherwise, and what is lost.

        Args:
            now: The time.
            last: Whether no more texts wait.
        """
        alone = self._plan(now, [lane for lane in self._pages if last or not lane.works])
        lost, self._lost = self._lost, []
        found: list[tuple[Lane, Carried]] = []
        for lane, page in self._pages.items():
            # Errands of nodes that go on working may wait for a request with texts.
            wanted = lane in alone or (page.errands and (last or not all(e.lane.works for e in page.errands)))
            if wanted and len(lane.requests) < lane.client.node.max_in_flight:
                canaries = 1 if page.errands else min(2, _most(lane))
                found.append((lane, page.carry(now, canaries=canaries)))
        return found, Findings(lost=lost)

    def sent(self, request: Request, carried: Carried) -> None:
        """Note what a request carries that is on its way."""
        if carried.canaries:
            self._carried[request] = carried

    def needs(self, request: Request) -> bool:
        """Whether a request brings evidence that somebody waits for, also where nobody waits for its texts."""
        carried = self._carried.get(request, Carried())
        return any(self._checks.get(errand.request) is errand for errand in carried.errands)

    # ---- answers

    def arrived(self, lane: Lane, request: Request, answer: Answer) -> Findings:
        """Take in an answer, and say what it shows.

        Args:
            lane: Its node.
            request: What it answers.
            answer: The vectors of its texts, and of what it carries.
        """
        found = Findings()
        if request.items and request.items[0].job.urgent:
            found.believed.append((lane, request, answer))
            return found
        page = self._pages[lane]
        if request.items:
            page.held[request] = answer
        carried = self._carried.pop(request, Carried())
        extra = answer.vectors[len(request.items) :]
        canaries = extra[len(carried.errands) :]
        if any(cosine(one, self._canaries[at]) < self._least for at, one in enumerate(canaries)):
            self._uncheck(carried.errands)
            found.liars.append((lane, _lies(lane, "a canary text")))
            return found
        if carried.canaries:
            found.believed += self._believe(lane, request)
        elif page.right is not None and _speaks(lane, page.right, request):
            found.believed += self._believe(lane, page.right)
        for errand, vector in zip(carried.errands, extra, strict=False):
            errand.vector = vector
            self._compare(errand, found)
        if (check := self._checks.get(request)) is not None and check.vector is not None:
            self._compare(check, found)
        return found

    def failed(self, request: Request, *, cancelled: bool) -> Findings:
        """Note that a request brought no answer: what it was to show has to be shown in another way."""
        found = Findings()
        self._checks.pop(request, None)
        carried = self._carried.pop(request, Carried())
        self._uncheck(carried.errands)
        for errand in () if cancelled else carried.errands:
            tries = self._tries[errand.request] = self._tries.get(errand.request, 0) + 1
            held = self._pages[errand.lane].held
            if tries >= TRIES and not errand.lane.works and errand.request in held:
                del held[errand.request], self._tries[errand.request]
                found.lost.append((errand.lane, errand.request.items))
        return found

    def proven(self, lane: Lane) -> list[tuple[Lane, Request, Reply]]:
        """A node has proven itself anew: what it gave before may be handed on."""
        return self._believe(lane, None)

    def disown(self, lane: Lane) -> list[Item]:
        """Throw away what a node gave since the last evidence for it; return the texts."""
        page = self._pages[lane]
        items = [item for request in page.held for item in request.items]
        for request in page.held:
            self._forget(request)
        page.held.clear()
        self._uncheck(page.errands)
        page.errands.clear()
        return items

    # ---- the book

    def _plan(self, now: float, lanes: Collection[Lane] | None = None) -> set[Lane]:
        """Give the quickest node errands for the answers that have no evidence on its way.

        Args:
            now: The time.
            lanes: Nodes whose answers they are; all of them if none is named.

        Returns:
            Nodes that had better be sent a canary by itself.
        """
        alone: set[Lane] = set()
        by = self._quickest(now)
        for lane in self._pages if lanes is None else lanes:
            page = self._pages[lane]
            if not lane.works:
                self._uncheck(page.errands)
                page.errands.clear()
            for request in self._unchecked(lane):
                if lane.works and (by is None or by is lane or request in self._tries or _most(by) < 2):
                    alone.add(lane)
                elif by is not None and _most(by) < 2:
                    self._lost.append((lane, self.disown(lane)))  # nobody can check it
                    break
                elif by is not None and len(self._pages[by].errands) < _most(by) - 1:
                    place = self._tries.get(request, 0) % len(request.items)
                    errand = self._checks[request] = Errand(lane, request, place)
                    self._pages[by].errands.append(errand)
                    page.since(now)
        return alone

    def _unchecked(self, lane: Lane) -> list[Request]:
        """The requests that neither have evidence nor will have it by what is under way; the last ones first."""
        page = self._pages[lane]
        open_ones = list(page.held)
        if lane.works:
            under_way = (request for request in lane.requests if request.items and not request.overdue)
            open_ones += (request for request in under_way if not request.items[0].job.urgent)
        known = [*page.held, *lane.requests]
        evidence = [request for request in known if request in self._carried or request in self._checks]
        evidence += [page.right] if page.right is not None else []
        found: list[Request] = []
        for request in sorted(open_ones, key=lambda request: request.number, reverse=True):
            if not any(_speaks(lane, one, request) for one in evidence):
                found.append(request)
                evidence.append(request)
        return found

    def _quickest(self, now: float) -> Lane | None:
        able = (lane for lane in self._pages if lane.works and not lane.stalled())
        return min(able, key=lambda lane: lane.pace.unit_seconds(now), default=None)

    def _compare(self, errand: Errand, found: Findings) -> None:
        held = self._pages[errand.lane].held
        if errand.vector is None or (answer := held.get(errand.request)) is None:
            return  # it has not answered yet, or its answer is decided on
        if _same(errand.vector, answer.vectors[errand.place]):
            found.believed += self._believe(errand.lane, errand.request)
        else:
            found.liars.append((errand.lane, _lies(errand.lane, "a text")))

    def _believe(self, lane: Lane, right: Request | None) -> list[tuple[Lane, Request, Reply]]:
        """Take out of those held the answers that a right one speaks for; all of them, if none is named."""
        page = self._pages[lane]
        if right is not None and (page.right is None or page.right.number < right.number):
            page.right = right
        believed = [request for request in page.held if right is None or _speaks(lane, right, request)]
        for request in believed:
            self._forget(request)
        return [(lane, request, page.held.pop(request)) for request in believed]

    def _forget(self, request: Request) -> None:
        self._checks.pop(request, None)
        self._tries.pop(request, None)

    def _uncheck(self, errands: Sequence[Errand]) -> None:
        for errand in errands:
            if self._checks.get(errand.request) is errand:
                del self._checks[errand.request]


def _speaks(lane: Lane, right: Request, other: Request) -> bool:
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
    return other.number < right.number and (other.answered <= right.answered or lane.pace.side_by_side)


def _much_quicker(one: Lane, other: Lane, now: float) -> bool:
    """Whether a text costs one node less than a canary costs another."""
    return one.pace.unit_seconds(now) * MEAN_UNITS < other.pace.unit_seconds(now) * ONE_CANARY


def _most(lane: Lane) -> int:
    return lane.client.node.max_request_texts


def _same(a: Vectors, b: Vectors) -> bool:
    return cosine(a, b) >= SAME_TEXT


def _lies(lane: Lane, what: str) -> NodeAnswerError:
    return NodeAnswerError(
        f"gave {what} another vector than it should have, in the middle of the work.",
        node=lane.name,
        remedy="Look for a proxy that mixes up answers, or for a model that was changed there. What it gave since "
        "it was last right is embedded elsewhere.",
    )
