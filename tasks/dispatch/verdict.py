"""Is the text to blame or the node? A text is refused only on the word of nodes that are well otherwise.

A request with several texts that fails is halved until a text stands alone. A text that failed alone accuses
itself only if its node then embeds the canary texts; it is refused when every node that works has accused it,
and what speaks against it weighs enough. Before a node is asked a second time it embeds other texts, as long
as there are any.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect_ollama.blocks.errors import InputRejected, NodeError, NodeUnreachable, PrefectOllamaError
from prefect_ollama.tasks.dispatch.job import Accusation, Item
from prefect_ollama.tasks.dispatch.lane import Lane
from prefect_ollama.tasks.dispatch.request_kind import RequestKind

GUILT = 3.0
"""What must speak against a text. A failure counts 1, a clear word against the text 1.5, no answer at all a half
(the node may have gone by chance). "Too long" is never said by chance."""


def accuse(item: Item, lane: Lane, error: NodeError) -> None:
    """Note a node's word against a text."""
    weight = 1.5 if isinstance(error, InputRejected) else 0.5 if isinstance(error, NodeUnreachable) else 1.0
    if (before := item.accused.get(lane.name)) is not None:
        weight += before.weight
    item.accused[lane.name] = Accusation(error, weight, lane.texts)


def may_try(item: Item, lane: Lane, lanes: Sequence[Lane], now: float, *, others_wait: bool) -> bool:
    """Whether a node may be given a text of the dock.

    Args:
        item: The text.
        lane: The node.
        lanes: All nodes.
        now: The time.
        others_wait: Whether other texts wait.
    """
    accusation = item.accused.get(lane.name)
    if accusation is None:
        return True
    return not _unheard(item, lanes, now) and (lane.texts > accusation.texts or not others_wait)


def is_certain(error: NodeError) -> bool:
    """Return whether an error is surely the payload's fault, so that its node need not prove itself again."""
    return isinstance(error, InputRejected) and error.too_long


def sentence(item: Item, lanes: Sequence[Lane], kind: RequestKind, now: float) -> PrefectOllamaError | None:
    """Why an item has failed for good, or None while it has not."""
    if not item.accused or _unheard(item, lanes, now):
        return None
    errors = [accusation.error for accusation in item.accused.values()]
    weight = sum(accusation.weight for accusation in item.accused.values())
    if weight < GUILT and not any(map(is_certain, errors)):
        return None
    return kind.final_error(item, errors)


def _unheard(item: Item, lanes: Sequence[Lane], now: float) -> bool:
    """Whether a node that works, or may do so in a moment, has not accused the text yet."""
    return any((lane.works or lane.breaker.resting(now)) and lane.name not in item.accused for lane in lanes)
