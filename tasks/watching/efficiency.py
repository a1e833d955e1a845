"""How much of what its nodes can do a run got out of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from prefect_ollama.tasks.dispatch import NodeFigures


def efficiency(figures: Iterable[Iterable[NodeFigures]], seconds: float) -> float | None:
    """Texts embedded, as a part of what the same nodes would have embedded in the time had none of them ever waited.

    The ceiling is, for each node that embedded anything, its own mean rate while it had work, as its dispatcher
    measured it, times the time from the first text handed out to the last vector. So whatever keeps nodes from
    work lowers it: parsing that does not keep up, the end of a run, a node that is down for a while. What a node
    could do if it were asked in another way, with larger requests for example, is not in it.

    Args:
        figures: Last figures of each process.
        seconds: Time from the first text handed out to the last vector.

    Returns:
        0 to 1, or None where no node embedded anything.
    """
    texts: defaultdict[str, int] = defaultdict(int)
    worked: defaultdict[str, int] = defaultdict(int)
    busy: defaultdict[str, float] = defaultdict(float)
    for process in figures:
        for node in process:
            texts[node.name] += node.texts
            worked[node.name] += node.texts + node.wasted
            busy[node.name] += node.busy_seconds
    # Several processes may keep a node busy at the same time.
    ceiling = sum(
        worked[name] * seconds / min(busy[name], seconds) for name in busy if busy[name] and seconds
    )
    return min(sum(texts.values()) / ceiling, 1.0) if ceiling else None
