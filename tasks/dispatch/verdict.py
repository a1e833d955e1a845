"""Is the text to blame or the node? A text is refused only on the word of nodes that are well otherwise.

A request with several texts that fails is halved until a text stands alone. A text that failed alone accuses
itself only if its node then embeds the canary texts; it is refused when every node that works has accused it,
and what speaks against it weighs enough. Before a node is asked a second time it embeds other texts, as long
as there are any.
"""

from __future__ import annotations

from collections.abc import Sequence

from prefect_ollama.blocks.errors import InputRejected, NodeError, NodeUnreachable, TextError, TextTooLong
from prefect_ollama.tasks.dispatch.job import Accusation, Item
from prefect_ollama.tasks.dispatch.lane import Lane

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


def sentence(item: Item, lanes: Sequence[Lane], model: str, now: float) -> TextError | None:
    """Why a text has failed for good, or None while it has not."""
    if not item.accused or _unheard(item, lanes, now):
        return None
    errors = [accusation.error for accusation in item.accused.values()]
    if any(isinstance(error, InputRejected) and error.too_long for error in errors):
        return TextTooLong(
            f"{len(item.text)} characters are longer than the context of {model!r}.",
            text=item.text,
            state="It was not cut.",
            remedy="Split it into smaller texts, or raise num_ctx if the model can take more.",
        )
    if sum(accusation.weight for accusation in item.accused.values()) < GUILT:
        return None
    return TextError(
        f"it failed alone on {', '.join(sorted(item.accused))}, where canary texts did not ({errors[-1].cause})",
        text=item.text,
        state="It has no vector; the texts beside it have theirs.",
        remedy="Look at the text itself: it may crash the model's runner.",
    )


def _unheard(item: Item, lanes: Sequence[Lane], now: float) -> bool:
    """Whether a node that works, or may do so in a moment, has not accused the text yet."""
    return any((lane.works or lane.breaker.resting(now)) and lane.name not in item.accused for lane in lanes)
