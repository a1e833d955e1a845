"""Reranking over several nodes, from any thread: one question with all its passages goes to one node.

Scores of different nodes cannot be compared. The client checks each answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prefect_ollama.blocks.errors import AnswerRejected, ClusterError, NodeAnswerError, NodeError, NodeRefused
from prefect_ollama.blocks.nodes import ClusterSpec, ModelSpec, NodeSpec, RerankEndpoint
from prefect_ollama.tasks.dispatch._base_dispatcher import BaseDispatcher
from prefect_ollama.tasks.dispatch._job import BYTES_A_TOKEN, Item, Job
from prefect_ollama.tasks.dispatch._request_kind import RequestKind

# Assumed work and time of a node's first request: 30 passages of 200 tokens. The assumption is the same for all nodes,
# so that each node gets work and is measured.
FIRST_UNITS: Final = 6_000.0
FIRST_SECONDS: Final = 1.0

# Seconds without a working node after which a question is given up. A person waits, and has the order of the search.
GIVE_UP_AFTER_S: Final = 0.25

# The passages that a failed node must score before it gets work again.
PROBE: Final = ("Which town is named?", ("The town of Oban lies on a bay.", "Ropes are made of hemp."))


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """A question and the passages that are scored."""

    question: str
    passages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reranked:
    """The scores of a request's passages, in their order."""

    scores: list[float]
    tokens: int = 0


class _RerankJob(Job[list[float]]):
    """One question with its passages. The future has their scores, or the error of the last node that failed."""

    def __init__(self, request: RerankRequest) -> None:
        self._scores: list[float] = []
        super().__init__([request], urgent=True, limit=1)

    def cost(self, payload: RerankRequest) -> float:
        """Return the tokens of all pairs of question and passage."""
        sizes = [len(payload.question) + len(passage) for passage in payload.passages]
        return max(1.0, sum(sizes) / BYTES_A_TOKEN)

    def keep(self, index: int, result: list[float], node: str) -> None:
        self._scores = result

    def close(self) -> None:
        """Set the scores or the error, once there is one."""
        for error in self.failures.values() if not self.future.done() else ():
            self.future.set_exception(error)
        super().close()

    def result(self) -> list[float]:
        return self._scores

    def unfinished(self, why: str, remedy: str) -> ClusterError:
        return ClusterError(why, left=self.left, state="No passage is reranked.", remedy=remedy)


class _RerankKind(RequestKind):
    """Reranking. The client checks each answer."""

    name = "rerank"
    first_units = FIRST_UNITS
    work = "reranked"

    def connect(self, node: NodeSpec) -> RerankEndpoint:
        return RerankEndpoint(node)

    def proven_seconds(self, node: str) -> float | None:
        """Return a guess: the check of each answer is enough, so every node may work at once."""
        return FIRST_SECONDS

    async def send(
        self,
        client: RerankEndpoint,
        payloads: Sequence[RerankRequest],
        *,
        timeout: float,
        progress: Callable[[float], None],
    ) -> Reranked:
        [request] = payloads
        try:
            return Reranked(await client.rerank(request.question, request.passages, timeout=timeout))
        except NodeAnswerError as error:
            # The failure says nothing about the next question, so another node is tried, and this one is not probed.
            raise AnswerRejected(error.cause, node=client.node.name) from None

    def results(self, reply: Reranked) -> tuple[list[float]]:
        return (reply.scores,)

    async def probe(self, client: RerankEndpoint, *, timeout: float, refused: NodeRefused | None) -> float:
        question, passages = PROBE
        await client.rerank(question, passages, timeout=timeout)
        return FIRST_SECONDS

    def final_error(self, item: Item, errors: Sequence[NodeError]) -> NodeError:
        return errors[-1]


class RerankDispatcher(BaseDispatcher):
    """Reranks over all nodes. Close it, or use it as a context manager.

    Each question goes to the node that is expected to finish it first, and to another one if that one fails, or gives
    anything but one finite score for each passage.

    Args:
        nodes: The nodes; all should have the same model.
        shared_folder: Folder in which all users of the same nodes share their limits; None if there are no others.
    """

    def __init__(self, nodes: Sequence[NodeSpec], shared_folder: Path | None = None) -> None:
        cluster = ClusterSpec(tuple(nodes), ModelSpec("reranker"), give_up_after=GIVE_UP_AFTER_S)
        super().__init__(_RerankKind(), cluster, shared_folder)

    def scores(self, question: str, passages: Sequence[str], *, timeout: float) -> list[float]:
        """Return the score of each passage. May be called from many threads at once.

        Args:
            question: The question.
            passages: The passages, at least one.
            timeout: Seconds to wait.

        Raises:
            NodeError: Each node refuses this request.
            ClusterError: No node works, no node answered in time, or the dispatcher was closed.
        """
        try:
            return self.wait_for(_RerankJob(RerankRequest(question, tuple(passages))), timeout)
        except TimeoutError:
            raise ClusterError(
                f"No reranker gave a whole answer within {timeout:g} s.",
                left=1,
                state="No passage is reranked.",
                remedy="Allow more time, or rerank on a faster node.",
            ) from None
