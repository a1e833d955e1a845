"""Order passages anew by a model that reads question and passage together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from prefect_ollama.blocks.blocking import blocking
from prefect_ollama.blocks.documents import Hit
from prefect_ollama.blocks.errors import ConfigurationError, NodeError
from prefect_ollama.blocks.nodes import NodeSpec, looks_like_address, openai_url, short_name

if TYPE_CHECKING:
    from prefect_ollama.blocks.openai_node import OpenAICompatibleNode

# Passages that are scored, or as many as are asked for. Each costs the endpoint one pass of its model.
RERANKED: Final = 30

RERANK_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Reranker:
    """An endpoint that scores passages.

    Attributes:
        node: The endpoint; its URL ends in `/v1`.
        timeout: Seconds for an answer. After them the order of the search stays.
    """

    node: NodeSpec
    timeout: float = RERANK_TIMEOUT_S

    def candidates(self, limit: int) -> int:
        """Return how many passages to search for where so many are asked for."""
        return max(limit, RERANKED)

    def reordered(self, question: str, hits: Sequence[Hit], limit: int) -> tuple[list[Hit], str]:
        """Return the best passages, and a note where the endpoint gave no usable scores: empty where it did.

        What is scored is what was embedded, with its context. `Hit.score` becomes the endpoint's score.

        Args:
            question: The question.
            hits: Passages in the order of the search, which stays where the endpoint fails.
            limit: How many to return at most.
        """
        if not hits:
            return [], ""
        # A search without a reranker need not wait for the HTTP client's import.
        from prefect_ollama.blocks.nodes import rerank

        passages = [hit.embedded_text or hit.text for hit in hits]
        try:
            scores = blocking(rerank(self.node, question, passages, timeout=self.timeout))
        except NodeError as error:
            return list(hits[:limit]), f"The passages stand in the order of the search, not reranked: {error}"
        order = sorted(range(len(hits)), key=lambda place: (-scores[place], place))
        return [replace(hits[place], score=scores[place]) for place in order[:limit]], ""


def reranker_of(
    named: str | OpenAICompatibleNode | None, *, timeout: float = RERANK_TIMEOUT_S
) -> Reranker | None:
    """Return the reranker that a URL, a saved block's name or a block means; None for None.

    Args:
        named: A URL that ends in `/v1`, the name of a saved OpenAI Compatible Node, or such a block.
        timeout: Seconds for an answer.

    Raises:
        ConfigurationError: It is no such URL, there is no such block, or the time-out is not above 0.
    """
    if named is None:
        return None
    if not timeout > 0:
        raise ConfigurationError(
            f"A reranker cannot answer within {timeout:g} s.",
            state="Nothing was searched.",
            remedy="Give a time-out above 0.",
        )
    if isinstance(named, str) and looks_like_address(named):
        try:
            url = openai_url(named)
        except ValueError as error:
            raise _no_reranker(named, str(error)) from None
        return Reranker(NodeSpec(short_name(url), url, api="openai"), timeout)
    from prefect_ollama.blocks.node_reference import node_spec

    node = node_spec(named.strip() if isinstance(named, str) else named)
    if node.api != "openai":
        raise _no_reranker(node.name, "it is an Ollama node, and Ollama does not rerank")
    return Reranker(node, timeout)


def _no_reranker(name: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name!r} is no reranker: {why}.",
        state="Nothing was searched.",
        remedy="Name a server that reranks, such as http://gpu-box:8012/v1, or a saved OpenAI Compatible Node.",
    )
