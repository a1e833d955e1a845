"""The efficiency of a run: the part of its nodes' capacity that it has used."""

from __future__ import annotations

from collections.abc import Iterable

from prefect_ollama.tasks.dispatch import NodeStats, stats_by_node


def efficiency(
    stats: Iterable[Iterable[NodeStats]], seconds: float, ended: float | None = None
) -> float | None:
    """Return the texts embedded, as a part of those that the same nodes could have embedded without ever waiting.

    The capacity of a node is its mean rate while it had work, as its dispatcher measured it, times the time from the
    first text to the last vector. So everything that keeps nodes from work lowers the efficiency: slow parsing, the end
    of a run, a node that is down for a while. A node that left for good has no capacity after that. A higher rate with
    other settings, such as larger requests, does not count.

    Args:
        stats: Last statistics of each process.
        seconds: Time from the first text to the last vector.
        ended: When the last vector came, by `time.time()`; None counts all nodes to the end.

    Returns:
        0 to 1, or None if no node embedded anything.
    """
    nodes = stats_by_node(stats).values()
    # Several processes may keep a node busy at the same time.
    ceiling = sum(
        (node.texts + node.wasted)
        * _present_seconds(node.gone_since, seconds, ended)
        / min(node.busy_seconds, seconds)
        for node in nodes
        if node.busy_seconds and seconds
    )
    return min(sum(node.texts for node in nodes) / ceiling, 1.0) if ceiling else None


def _present_seconds(gone_since: float | None, seconds: float, ended: float | None) -> float:
    """Return the seconds of the run before a node left for good, as the last process saw it."""
    if ended is None or gone_since is None:
        return seconds
    return min(max(seconds - (ended - gone_since), 0.0), seconds)
