"""Who does what next: which node pulls, how much, and what an idle one does again."""

from __future__ import annotations

import math
from collections.abc import Sequence

from prefect_ollama.tasks.dispatch import sizing
from prefect_ollama.tasks.dispatch.job import Item
from prefect_ollama.tasks.dispatch.lane import Lane, Request

HEDGE_GAIN = 1.2
"""A second copy is sent when it should be there this many times sooner than the first."""


def next_pull(lanes: Sequence[Lane], queued: float, item: Item, now: float) -> tuple[Lane, float] | None:
    """The lane that would be done with the next item soonest among those with room, and its share.

    Args:
        lanes: All nodes.
        queued: Units that wait.
        item: The next one of them.
        now: The time.
    """
    standings = {lane: lane.standing(now) for lane in lanes if lane.works and not lane.stalled()}
    if not standings:
        return None
    nodes = list(standings.values())
    end = sizing.common_end(queued, nodes, item.units)
    soonest = min(sizing.finish(node, item.units) for node in nodes)
    best: tuple[Lane, float] | None = None
    best_finish = 0.0
    for lane, node in standings.items():
        if not lane.has_room():
            continue
        units = sizing.pull(node, end, soonest, item.units)
        done = sizing.finish(node, item.units)
        if units > 0 and (best is None or done < best_finish):
            best, best_finish = (lane, units), done
    return best


def to_hedge(lane: Lane, lanes: Sequence[Lane], now: float) -> Request | None:
    """The request that an idle node would finish well before the one that has it; None where it is not idle."""
    if lane.requests or not lane.has_room():
        return None
    best: tuple[float, Request] | None = None
    for other in lanes:
        for request in other.requests:
            items = request.open_items
            if not items or any(item.copies != 1 for item in items):
                continue
            mine = sizing.finish(lane.standing(now), sum(item.units for item in items)) + 0.002
            due = other.pace.due(now, request.note) if other.works else math.inf
            if due > HEDGE_GAIN * mine + 0.005 and (best is None or due > best[0]):
                best = (due, request)
    return best[1] if best is not None else None
