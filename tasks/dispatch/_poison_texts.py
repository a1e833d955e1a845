"""Poison texts: texts that make nodes fail. A text is rejected only if it fails on nodes that embed other texts.

A failed request with several texts is halved until a text is alone. A failure of a single text counts only if its node
embeds the canary texts after it. The text is rejected when it has failed on every node that works and twice on one of
them, and the failures together reach `REJECT_SCORE`. One failure may be a short fault of its node; two at the same
text are not. Before a node gets the text a second time it embeds other texts, as long as there are any. The node then
has no other request, because some servers fail only while they have several.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from prefect_ollama.blocks.errors import (
    AnswerRejected,
    InputRejected,
    NodeError,
    NodeUnreachable,
    PrefectOllamaError,
)
from prefect_ollama.tasks.dispatch._job import FailureRecord, Item, Job
from prefect_ollama.tasks.dispatch._node import Node
from prefect_ollama.tasks.dispatch._request_kind import RequestKind

# Score at which a text is rejected. A failure counts 1, a rejection of the input 1.5. No answer counts a half,
# because the node may have gone for another reason. "Too long" alone is enough, because no node says it by
# chance.
REJECT_SCORE = 3.0


def record_failure(item: Item, node: Node, error: NodeError) -> None:
    """Record that a text failed alone on a node."""
    weight = 1.5 if isinstance(error, InputRejected) else 0.5 if isinstance(error, NodeUnreachable) else 1.0
    if (before := item.failures.get(node.name)) is not None:
        weight += before.weight
    item.failures[node.name] = FailureRecord(error, weight, node.texts, repeated=before is not None)


def may_try(item: Item, node: Node, nodes: Sequence[Node], now: float, *, others_wait: bool) -> bool:
    """Return whether a node may get a text from quarantine; `others_wait` says whether other texts wait."""
    if not _is_allowed(item, node, nodes, now):
        return False
    failure = item.failures.get(node.name)
    if failure is None:
        return True
    return not _untried(item, nodes, now) and (node.texts > failure.texts or not others_wait)


def failed_before(item: Item, node: Node) -> bool:
    """Return whether a text has failed on a node, which may have been due to another request."""
    failure = item.failures.get(node.name)
    return failure is not None and not is_certain(failure.error)


def refuse_hopeless(
    items: Iterable[Item], nodes: Sequence[Node], kind: RequestKind, now: float
) -> set[Job[Any]]:
    """Give items in quarantine their error if it is final, and return their jobs."""
    refused: set[Job[Any]] = set()
    for item in items:
        if not item.answered and (error := _final_error(item, nodes, kind, now)):
            item.job.refuse(item, error)
            refused.add(item.job)
    return refused


def is_certain(error: NodeError) -> bool:
    """Return whether an error is certainly the payload's fault, so that its node needs no new verification."""
    return isinstance(error, AnswerRejected) or _is_final(error)


def _final_error(
    item: Item, nodes: Sequence[Node], kind: RequestKind, now: float
) -> PrefectOllamaError | None:
    """Return the final error of an item; None if it may still succeed."""
    failures = item.failures.values()
    errors = [failure.error for failure in failures]
    # An answer that does not fit is the model's, and all nodes have the same model. So such failures alone reach the
    # score, also if some nodes have not tried.
    rejected = sum(each.weight for each in failures if isinstance(each.error, AnswerRejected))
    if rejected < REJECT_SCORE:
        if not item.failures or _untried(item, nodes, now):
            return None
        # A person waits for an urgent item, and may ask again.
        sure = item.job.urgent or any(each.repeated for each in failures)
        score = sum(each.weight for each in failures) if sure else 0.0
        if score < REJECT_SCORE and not any(map(_is_final, errors)):
            return None
    return kind.final_error(item, errors)


def _is_final(error: NodeError) -> bool:
    """Return whether an error is final alone: no node says "too long" by chance."""
    return isinstance(error, InputRejected) and error.too_long


def _untried(item: Item, nodes: Sequence[Node], now: float) -> bool:
    """Return whether a node that works, or soon may, has not failed on the text yet."""
    return any(
        _may_work(node, now) and node.name not in item.failures and _is_allowed(item, node, nodes, now)
        for node in nodes
    )


def _is_allowed(item: Item, node: Node, nodes: Sequence[Node], now: float) -> bool:
    """Return whether the job of a text allows this node to get it.

    A node that the job avoids may not get the text while another node works that has not failed on it.
    """
    avoid = item.job.avoid
    return node.name not in avoid or not any(
        _may_work(other, now) and other.name not in item.failures
        for other in nodes
        if other.name not in avoid
    )


def _may_work(node: Node, now: float) -> bool:
    return node.works or node.breaker.resting(now)
