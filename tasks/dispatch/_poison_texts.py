"""Is the text to blame or the node? A text is refused only on the word of nodes that are well otherwise.

A request with several texts that fails is halved until a text stands alone. A text that failed alone accuses
itself only if its node then embeds the canary texts; it is refused when every node that works has accused it,
and what speaks against it weighs enough. Before a node is asked a second time it embeds other texts, as long
as there are any.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect_ollama.blocks.errors import InputRejected, NodeError, NodeUnreachable, PrefectOllamaError
from prefect_ollama.tasks.dispatch._job import FailureRecord, Item
from prefect_ollama.tasks.dispatch._node import Node
from prefect_ollama.tasks.dispatch._request_kind import RequestKind

REJECT_SCORE = 3.0
"""What must speak against a text. A failure counts 1, a clear word against the text 1.5, no answer at all a half
(the node may have gone by chance). "Too long" is never said by chance."""


def record_failure(item: Item, node: Node, error: NodeError) -> None:
    """Note a node's word against a text."""
    weight = 1.5 if isinstance(error, InputRejected) else 0.5 if isinstance(error, NodeUnreachable) else 1.0
    if (before := item.failures.get(node.name)) is not None:
        weight += before.weight
    item.failures[node.name] = FailureRecord(error, weight, node.texts)


def may_try(item: Item, node: Node, nodes: Sequence[Node], now: float, *, others_wait: bool) -> bool:
    """Whether a node may be given a text of the dock.

    Args:
        item: The text.
        lane: The node.
        lanes: All nodes.
        now: The time.
        others_wait: Whether other texts wait.
    """
    failure = item.failures.get(node.name)
    if failure is None:
        return True
    return not _untried(item, nodes, now) and (node.texts > failure.texts or not others_wait)


def is_certain(error: NodeError) -> bool:
    """Return whether an error is surely the payload's fault, so that its node need not prove itself again."""
    return isinstance(error, InputRejected) and error.too_long


def final_error(
    item: Item, nodes: Sequence[Node], kind: RequestKind, now: float
) -> PrefectOllamaError | None:
    """Why an item has failed for good, or None while it has not."""
    if not item.failures or _untried(item, nodes, now):
        return None
    errors = [failure.error for failure in item.failures.values()]
    weight = sum(failure.weight for failure in item.failures.values())
    if weight < REJECT_SCORE and not any(map(is_certain, errors)):
        return None
    return kind.final_error(item, errors)


def _untried(item: Item, nodes: Sequence[Node], now: float) -> bool:
    """Whether a node that works, or may do so in a moment, has not accused the text yet."""
    return any((node.works or node.breaker.resting(now)) and node.name not in item.failures for node in nodes)
