"""Reranking over several nodes, from any thread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from prefect_ollama.blocks.errors import ClusterError
from prefect_ollama.blocks.nodes import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.tasks.dispatch._base import BaseDispatcher
from prefect_ollama.tasks.dispatch._rerank_kind import RerankJob, RerankKind, RerankRequest

# Seconds without a working node after which a question is given up. A person waits, and has the order of the search.
GIVE_UP_AFTER_S: Final = 0.25


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
        super().__init__(RerankKind(), cluster, shared_folder)

    def scores(self, question: str, passages: Sequence[str], *, timeout: float) -> list[float]:
        """Return the score of each passage. May be called from many threads at once.

        Args:
            question: The question.
            passages: The passages, at least one.
            timeout: Seconds to wait.

        Raises:
            NodeError: Each node refuses this request.
            ClusterError: No node works, none answered in time, or the dispatcher was closed.
        """
        try:
            return self.wait_for(RerankJob(RerankRequest(question, tuple(passages))), timeout)
        except TimeoutError:
            raise ClusterError(
                f"No reranker gave a whole answer within {timeout:g} s.",
                left=1,
                state="The passages have no scores.",
                remedy="Allow more time, or rerank on a faster node.",
            ) from None
