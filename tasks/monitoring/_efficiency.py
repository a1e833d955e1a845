"""How much of what its nodes can do a run got out of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from prefect_ollama.tasks.dispatch import NodeStats


def efficiency(
    stats: Iterable[Iterable[NodeStats]], seconds: float, ended: float | None = None
) -> float | None:
    """Texts embedded, as a part of what the same nodes would have embedded in the time had none of them ever waited.

    The ceiling is, for each node that embedded anything, its own mean rate while it had work, as its dispatcher
    measured it, times the time from the first text handed out to the last vector. So whatever keeps nodes from
    work lowers it: parsing that does not keep up, the end of a run, a node that is down for a while. A node that left
    and did not come back could do nothing after that. What a node could do if it were asked in another way, with larger
    requests for example, is not in it.

    Args:
        stats: Last figures of each process.
        seconds: Time from the first text handed out to the last vector.
        ended: When the last vector came, by `time.time()`; None takes all nodes as there to the end.

    Returns:
        0 to 1, or None where no node embedded anything.
    """
    texts: defaultdict[str, int] = defaultdict(int)
    worked: defaultdict[str, int] = defaultdict(int)
    busy: defaultdict[str, float] = defaultdict(float)
    gone: defaultdict[str, list[float | None]] = defaultdict(list)
    for process in stats:
        for node in process:
            texts[node.name] += node.texts
            worked[node.name] += node.texts + node.wasted
            busy[node.name] += node.busy_seconds
            gone[node.name].append(node.gone_since)
    # Several processes may keep a node busy at the same time.
    ceiling = sum(
        worked[name] * _there(gone[name], seconds, ended) / min(busy[name], seconds)
        for name in busy
        if busy[name] and seconds
    )
    return min(sum(texts.values()) / ceiling, 1.0) if ceiling else None


def _there(gone: list[float | None], seconds: float, ended: float | None) -> float:
    """Seconds of the run before a node left for good, as the last process saw it."""
    since = [each for each in gone if each is not None]
    if ended is None or len(since) < len(gone):
        return seconds
    return min(max(seconds - (ended - max(since)), 0.0), seconds)
