"""Verification of vectors while nodes work: no answer is handed on before its node has passed a check.

Vectors stay unconfirmed until the same node returns a correct canary, or a verified node reproduces one of them. The
canary travels with the request or with a later one. If a check fails, all unconfirmed vectors of the node are
discarded, and their texts are embedded elsewhere.

A passed check confirms its own request and every request that the node had answered before the check was sent, because
the node must have served those before. No other order is proven: requests that are in flight together may arrive in
either order, and so may their answers.

A canary costs as much as a text. So one travels with every few hundred texts, and at least every few seconds. At the
end of the work a fast node checks the last answer of a slow one, because a canary on the slow node would take longer.
"""

from collections.abc import Collection, Sequence

from prefect_ollama.blocks.errors import NodeAnswerError
from prefect_ollama.blocks.nodes import SHORT, Answer, Fingerprint, cosine, least_cosine, scripts_in
from prefect_ollama.tasks.dispatch._batch_size import MAX_REQUEST_S
from prefect_ollama.tasks.dispatch._checks import ONE_CANARY, Check, UnconfirmedAnswers
from prefect_ollama.tasks.dispatch._job import Item
from prefect_ollama.tasks.dispatch._node import Node
from prefect_ollama.tasks.dispatch._request import Request
from prefect_ollama.tasks.dispatch._request_kind import AnswerCheck, Carried, Findings, Reply

# A node is checked after this many seconds at the latest, while more work comes.
CHECK_INTERVAL_S = 3.0

# Lowest cosine of two nodes' vectors of one chunk, if the nodes have different builds: they may cut a rare symbol of a
# chunk into other tokens. Nodes of one build cut all texts alike, so the bound of canaries also applies to chunks.
# Other quantizations of a model give 0.9990 to 0.9999, which only that bound refuses.
SAME_TEXT_COSINE = 0.999

# Failed checks by other nodes after which an answer is discarded, if its own node no longer works.
MAX_FAILED_CHECKS = 3

# Seconds until the end of the work below which its last checks are planned: each node gets one or two requests more.
END_S = 2 * MAX_REQUEST_S

# Texts that a slot of a node may still embed below which the node sends no wave to measure its slots, and keeps no
# request waiting. Each request that is in flight beside the last one needs a check of its own.
WAVE_TEXTS = 8

# Approximate units of a chunk of the usual length.
MEAN_UNITS = 5 * ONE_CANARY


class Verification(AnswerCheck):
    """The unconfirmed answers of all nodes, and the checks that confirm or discard them; methods as in `AnswerCheck`.

    Args:
        nodes: All nodes.
        reference: The fingerprint of the model.
        now: The time.
        other_scripts: Scripts in which nodes differ. Texts in them check no node.
        one_build: Whether all nodes have the digest and version of the reference.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        reference: Fingerprint,
        now: float,
        other_scripts: Collection[str] = (),
        *,
        one_build: bool = False,
    ) -> None:
        self._other_scripts = other_scripts
        self._canaries = [reference.canary(text) for text in SHORT]
        self._least = least_cosine(reference, reference)
        self._least_text = self._least if one_build else SAME_TEXT_COSINE
        self._answers = UnconfirmedAnswers(nodes, now)
        self._nodes = self._answers.nodes
        self._lost: list[tuple[Node, list[Item]]] = []

    def room(self, node: Node) -> int:
        return max(_most(node) - 1 - len(self._nodes[node].checks), 1)

    def check_cost(self, node: Node, now: float) -> float:
        quickest = self._quickest(now)
        self._plan(now, self._much_slower(quickest, now))
        checks = self._nodes[node].next_checks(node.rate_model.slots)
        return sum(check.item.units for check in checks) + (ONE_CANARY if checks or node is quickest else 0.0)

    def plan_end(self, seconds: float, next_units: float, now: float) -> float:
        for node in self._nodes:
            node.rate_model.waves.ends_soon = seconds < WAVE_TEXTS * node.rate_model.expected(next_units)
        quickest = self._quickest(now)
        if quickest is None or seconds > END_S:
            return 0.0
        texts = sum(len(self._answers.unchecked(node)) for node in self._much_slower(quickest, now))
        return texts * MEAN_UNITS + quickest.rate_model.slots * ONE_CANARY

    def to_carry(self, node: Node, items: Sequence[Item], now: float, *, left: float, last: bool) -> Carried:
        state = self._nodes[node]
        if any(item.job.urgent or item.failures for item in items):
            return Carried()  # a query waits for nothing, and a text under suspicion goes alone
        quickest = self._quickest(now)
        slower = self._much_slower(quickest, now)
        due = state.unchecked_units >= state.next_check_units or now - state.checked_at >= CHECK_INTERVAL_S
        if node in slower:
            if due:
                self._plan(now, [node], newest=True)
            due = False
        # All slots may take their last requests now: the node gets no request any more that is sent after the answer to
        # this one, and could confirm it. A check after that would cost a request of its own.
        elif left <= max(node.rate_model.slots - 1, 1) * sum(item.units for item in items):
            due = True
        # At the end of the work no later request could carry checks, so the quickest node carries them now.
        if last:
            self._plan(now, slower if left > 0 else None)
            due = due or node is quickest
        if not (due or state.checks) or len(items) + len(state.checks) >= _most(node):
            return Carried()
        return state.carry(now, canaries=1, slots=node.rate_model.slots)

    def pending_checks(self, now: float, *, last: bool) -> tuple[list[tuple[Node, Carried]], Findings]:
        alone = self._plan(now, [node for node in self._nodes if last or not node.works])
        lost, self._lost = self._lost, []
        found: list[tuple[Node, Carried]] = []
        for node, state in self._nodes.items():
            # Checks of nodes that still work may wait for a request with texts.
            wanted = node in alone or (state.checks and (last or not all(e.node.works for e in state.checks)))
            for _ in range(len(node.requests), node.client.node.max_in_flight):
                if not wanted:
                    break
                canaries = 1 if state.checks else min(2, _most(node))
                found.append((node, state.carry(now, canaries=canaries, slots=node.rate_model.slots)))
                wanted = bool(state.checks)
        return found, Findings(lost=lost)

    def needs(self, request: Request) -> bool:
        return any(self._answers.checks.get(check.request) is check for check in request.carried.checks)

    def arrived(self, node: Node, request: Request, answer: Answer) -> Findings:
        if request.items and request.items[0].job.urgent:
            return Findings(confirmed=[(node, request, answer)])
        # Held until a check confirms it: a node may give wrong vectors without any error.
        state = self._nodes[node]
        if request.items:
            state.held[request] = answer
            state.unchecked_units += sum(item.units for item in request.items)
        carried = request.carried
        extra = answer.vectors[len(request.items) :]
        canaries = extra[len(carried.checks) :]
        if any(cosine(one, self._canaries[at]) < self._least for at, one in enumerate(canaries)):
            self._answers.uncheck(carried.checks)
            return Findings(failed_checks=[(node, _wrong_vector(node, "a canary text"))])
        found = Findings()
        if carried.payloads:  # a canary is always among them
            found.confirmed += self._answers.confirm(node, request)
        for check, vector in zip(carried.checks, extra, strict=False):
            check.vector = vector
            self._compare(check, found)
        if (own_check := self._answers.checks.get(request)) is not None:
            self._compare(own_check, found)
        return found

    def failed(self, request: Request, *, cancelled: bool) -> Findings:
        found = Findings()
        self._answers.checks.pop(request, None)
        self._answers.uncheck(request.carried.checks)
        for check in () if cancelled else request.carried.checks:
            tries = self._answers.tries[check.request] = self._answers.tries.get(check.request, 0) + 1
            held = self._nodes[check.node].held
            if tries >= MAX_FAILED_CHECKS and not check.node.works and check.request in held:
                self._answers.pop(check.node, [check.request])
                found.lost.append((check.node, check.request.items))
        return found

    def verified(self, node: Node, answers: int) -> list[tuple[Node, Request, Reply]]:
        held = self._nodes[node].held
        return self._answers.pop(node, [request for request in held if request.place <= answers])

    def discard_unverified(self, node: Node) -> list[Item]:
        return self._answers.discard(node)

    def _plan(self, now: float, nodes: Collection[Node] | None = None, *, newest: bool = False) -> set[Node]:
        """Let the fastest node check answers of nodes (or of all); return the nodes that need a request with a canary.

        Args:
            newest: Whether the newest answer of a node is enough: a later check will confirm the others.
        """
        alone: set[Node] = set()
        by = self._quickest(now)
        for node in self._nodes if nodes is None else nodes:
            state = self._nodes[node]
            if not node.works:
                self._answers.drop_checks(state)
            for request in self._answers.unchecked(node)[: 1 if newest else None]:
                alike = [] if by is None else self._alike(request)
                able = bool(alike) and by is not None and _most(by) >= 2
                if node.works and (by is None or by is node or request in self._answers.tries or not able):
                    # A canary that is sent before the answer came would not confirm it.
                    if request in state.held:
                        alone.add(node)
                elif by is not None and not able:
                    self._lost.append((node, self.discard_unverified(node)))  # no node can check it
                    break
                elif by is not None and len(self._nodes[by].checks) < _most(by) - 1:
                    index = alike[self._answers.tries.get(request, 0) % len(alike)]
                    check = self._answers.checks[request] = Check(node, request, index)
                    self._nodes[by].checks.append(check)
                    state.check_sent(now)
        return alone

    def _alike(self, request: Request) -> list[int]:
        """Return the positions of a request's texts that all nodes tokenize alike: only these can be compared."""
        if not self._other_scripts:
            return list(range(len(request.items)))
        texts = [str(item.payload) for item in request.items]
        return [at for at, text in enumerate(texts) if not scripts_in(text, self._other_scripts)]

    def _quickest(self, now: float) -> Node | None:
        able = (node for node in self._nodes if node.works and not node.stalled())
        return min(able, key=lambda node: node.rate_model.unit_seconds(now), default=None)

    def _much_slower(self, quickest: Node | None, now: float) -> list[Node]:
        """Return the nodes that the fastest node checks, because a canary would cost them more time than it a text."""
        if quickest is None:
            return []
        text_s = MEAN_UNITS * quickest.rate_model.unit_seconds(now)
        working = (node for node in self._nodes if node.works)
        return [node for node in working if text_s < node.rate_model.unit_seconds(now) * ONE_CANARY]

    def _compare(self, check: Check, found: Findings) -> None:
        held = self._nodes[check.node].held
        if check.vector is None or (answer := held.get(check.request)) is None:
            return  # it has not answered yet, or its answer is confirmed or discarded
        if cosine(check.vector, answer.vectors[check.index]) >= self._least_text:
            found.confirmed += self._answers.confirm(check.node, check.request)
        else:
            found.failed_checks.append((check.node, _wrong_vector(check.node, "a text")))


def _most(node: Node) -> int:
    return node.client.node.max_request_texts


def _wrong_vector(node: Node, what: str) -> NodeAnswerError:
    return NodeAnswerError(
        f"gave {what} another vector than it should have, in the middle of the work.",
        node=node.name,
        remedy="Look for a proxy that mixes up answers, or for a model that was changed there. Its texts since the "
        "last passed check are embedded elsewhere.",
    )
