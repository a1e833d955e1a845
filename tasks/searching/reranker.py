"""Order passages again by a model that reads question and passage together: a reranker, or a chat model that judges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from prefect_ollama.blocks.documents import Hit
from prefect_ollama.blocks.errors import ConfigurationError, PrefectOllamaError
from prefect_ollama.blocks.nodes import NodeSpec, looks_like_address, openai_url, short_name
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.blocks.resolve import limits_folder

if TYPE_CHECKING:
    from prefect_ollama.blocks.nodes import ClusterSpec
    from prefect_ollama.blocks.openai_node import OpenAICompatibleNode
    from prefect_ollama.tasks.dispatch import Dispatcher

# Number of passages that are scored, unless more are requested. Each passage costs the endpoint one pass of its model.
RERANKED_PASSAGES: Final = 30

# Seconds for the scores of a question: a person waits for them, and the order of the search is a good fallback.
RERANK_TIMEOUT_S: Final = 10.0

# Names the cluster's judge or chat model as the reranker; `judge:MODEL` names another model.
JUDGE: Final = "judge"

# Scores passages for a question within some seconds; None for a passage without a score.
Score = Callable[[str, Sequence[str], float], Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class Reranker:
    """What scores passages.

    Attributes:
        nodes: The servers that rerank; empty if a chat model judges.
        judge: The chat model that judges; empty for the cluster's own.
        timeout: Seconds for an answer. After them the order of the search stays.
    """

    nodes: tuple[NodeSpec, ...]
    judge: str = ""
    timeout: float = RERANK_TIMEOUT_S

    @property
    def judges(self) -> bool:
        """Whether a chat model of the cluster judges."""
        return not self.nodes

    def candidates(self, limit: int) -> int:
        """Return the number of passages to search for a number of requested ones."""
        return max(limit, RERANKED_PASSAGES)

    @contextmanager
    def opened(self, cluster: ClusterSpec | None = None, embed: Dispatcher | None = None) -> Iterator[Score]:
        """Yield what scores passages.

        Args:
            cluster: The nodes, if a chat model judges.
            embed: The same nodes as they embed; chat shares their limits.

        Raises:
            ClusterError: No node can chat with the model that judges.
        """
        # A search without a reranker need not wait for the HTTP client's import.
        if self.judges:
            from prefect_ollama.tasks.searching.judge import judging

            assert cluster is not None
            with judging(cluster, self.judge, embed) as score:
                yield score
            return
        from prefect_ollama.tasks.dispatch import RerankDispatcher

        with RerankDispatcher(self.nodes, limits_folder()) as dispatcher:
            yield lambda question, passages, timeout: dispatcher.scores(question, passages, timeout=timeout)

    def reordered(
        self, question: str, hits: Sequence[Hit], limit: int, score: Score
    ) -> tuple[list[Hit], str]:
        """Return the best passages, and a note if there were no usable scores; it is empty otherwise.

        The embedded text of each passage is scored, with its context. `Hit.score` becomes the new score. Passages
        without a score come last, in the order of the search.

        Args:
            hits: Passages in the order of the search, which stays where the reranker fails.
            limit: Maximum number of passages to return.
            score: What `opened` yields.
        """
        passages = [_unicode(hit.embedded_text or hit.text) for hit in hits]
        try:
            scores = score(_unicode(question), passages, self.timeout)
        except PrefectOllamaError as error:
            return not_reordered(hits, limit, error)
        known = {place: value for place, value in enumerate(scores) if value is not None}
        # Equal scores, as a judge with few points gives them, keep the order of the search.
        order = sorted(known, key=lambda place: (-known[place], place))
        best = [replace(hits[place], score=known[place]) for place in order]
        rest = [hit for place, hit in enumerate(hits) if place not in known]
        unscored = (
            f"{len(rest)} of {quantity(len(hits), 'passage has', 'passages have')} no score of the judge"
        )
        return [*best, *rest][:limit], f"{unscored}; see the end of the list." if rest else ""


def not_reordered(hits: Sequence[Hit], limit: int, error: PrefectOllamaError) -> tuple[list[Hit], str]:
    """Return the best passages in the order of the search, and a note that says why."""
    # The error of several nodes has a line for each, and a note is one line.
    why = " ".join(str(error).split())
    return list(hits[:limit]), f"The passages stand in the order of the search, not reranked: {why}"


def reranker_of(
    named: str | OpenAICompatibleNode | Sequence[str | OpenAICompatibleNode] | None,
    *,
    timeout: float = RERANK_TIMEOUT_S,
) -> Reranker | None:
    """Return the named reranker; None without a name.

    Args:
        named: URLs of servers that rerank, names of saved OpenAI Compatible Nodes, or such blocks: one, or several
            with the same model, also separated by commas. Or `judge` for the cluster's judge or chat model,
            `judge:MODEL` for another one.
        timeout: Seconds for an answer.

    Raises:
        ConfigurationError: The URL is invalid, the block does not exist, or the time-out is not above 0.
    """
    if named is None:
        return None
    if not timeout > 0:
        raise ConfigurationError(
            f"A reranker cannot answer within {timeout:g} s.",
            state="Nothing was searched.",
            remedy="Give a number of seconds above 0.",
        )
    if isinstance(named, str):
        word, _, model = named.strip().partition(":")
        if word == JUDGE:
            return Reranker((), model.strip(), timeout)
        several: Sequence[str | OpenAICompatibleNode] = [
            each.strip() for each in named.split(",") if each.strip()
        ]
    else:
        several = named if isinstance(named, Sequence) else [named]
    # A server that is named twice would be asked twice at once.
    nodes = {node.server: node for node in map(_node_of, several)}
    if not nodes:
        raise _no_reranker(str(named), "it names no server")
    return Reranker(tuple(nodes.values()), timeout=timeout)


def _node_of(named: str | OpenAICompatibleNode) -> NodeSpec:
    if isinstance(named, str) and looks_like_address(named):
        try:
            url = openai_url(named)
        except ValueError as error:
            raise _no_reranker(named, str(error)) from None
        return NodeSpec(short_name(url), url, api="openai")
    from prefect_ollama.blocks.node_reference import node_spec

    try:
        node = node_spec(named)
    except ConfigurationError as error:
        # A name alone may be meant as that of a chat model.
        hint = (
            f" If it is a chat model of the nodes, write {JUDGE}:{named}." if isinstance(named, str) else ""
        )
        raise ConfigurationError(error.cause, state=error.state, remedy=error.remedy + hint) from error
    if node.api != "openai":
        raise _no_reranker(node.name, "it is an Ollama node, and Ollama does not rerank")
    return node


def _unicode(text: str) -> str:
    # A question may hold half of a surrogate pair, which no JSON can carry.
    return text.encode("utf-8", "replace").decode()


def _no_reranker(name: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name!r} is no reranker: {why}.",
        state="Nothing was searched.",
        remedy="Name a server that reranks, such as http://gpu-box:8012/v1, a saved OpenAI Compatible Node, or "
        "`judge` for the cluster's judge or chat model, or `judge:MODEL` for another chat model of the nodes.",
    )
