"""Reranking as a kind of request: one question with all its passages goes to one node.

Scores of different nodes cannot be compared. The client checks each answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from prefect_ollama.blocks.errors import (
    AnswerRejected,
    ClusterError,
    NodeAnswerError,
    NodeError,
    NodeRefused,
    PrefectOllamaError,
)
from prefect_ollama.blocks.nodes import NodeSpec, RerankEndpoint
from prefect_ollama.tasks.dispatch._job import BYTES_A_TOKEN, Item, Job
from prefect_ollama.tasks.dispatch._request_kind import RequestKind

# Assumed work and time of a node's first request: 30 passages of 200 tokens. It is the same for all nodes, so that each
# gets work and is measured.
FIRST_UNITS: Final = 6_000.0
FIRST_SECONDS: Final = 1.0

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


class RerankJob(Job[list[float]]):
    """One question with its passages. The future has their scores, or the error of the last node that failed."""

    def __init__(self, request: RerankRequest) -> None:
        self._scores: list[float] = []
        self._error: PrefectOllamaError | None = None
        super().__init__([request], urgent=True, limit=1)

    def cost(self, payload: RerankRequest) -> float:
        """Return the tokens of all pairs of question and passage."""
        sizes = [len(payload.question) + len(passage) for passage in payload.passages]
        return max(1.0, sum(sizes) / BYTES_A_TOKEN)

    def keep(self, index: int, result: list[float], node: str) -> None:
        self._scores = result

    def keep_error(self, index: int, error: PrefectOllamaError) -> None:
        self._error = error

    def close(self) -> None:
        """Set the scores or the error, once there is one."""
        if self._error is not None and not self.future.done():
            self.future.set_exception(self._error)
        super().close()

    def result(self) -> list[float]:
        return self._scores

    def unfinished(self, why: str, remedy: str) -> ClusterError:
        return ClusterError(why, left=self.left, state="The passages have no scores.", remedy=remedy)


class RerankKind(RequestKind):
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
