"""How much a node pulls: its share of what is left, in ever smaller requests, so that all end together.

Guided self-scheduling (Polychronopoulos & Kuck 1987, doi:10.1109/TC.1987.5009495) gives each pull a fixed
part of what remains; weighted by the learned rates it holds for unlike nodes. Pure functions of numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Seconds that a request should take at most: longer ones save nothing more and lose more with a node.
MAX_REQUEST_S = 1.35

# Seconds that a request should take at least: shorter ones cost more to send than they balance.
MIN_REQUEST_S = 0.2

# A request should take at least this many times its overhead, so that this does not eat the node's time.
WORTH = 14.0

# Of its share a node takes this much with one request.
PART = 0.75

SLACK = 1.05


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """A node as it stands now.

    Attributes:
        free: Seconds until each of its slots is free, in rising order.
        overhead: Seconds that any request costs.
        unit_seconds: Seconds of a slot for a unit.
        largest: Units to risk in one request.
    """

    free: Sequence[float]
    overhead: float
    unit_seconds: float
    largest: float


def common_end(queued: float, loads: Sequence[NodeLoad], next_units: float) -> float:
    """Seconds until all is done when every slot that can still help does so with one more request.

    Args:
        queued: Units not sent yet.
        loads: All nodes that work, those with no room for another request too.
        next_units: Units of the next text; a slot that can't do as much by then can't help.
    """
    slots = sorted(
        (free + load.overhead + next_units * load.unit_seconds, free + load.overhead, load.unit_seconds)
        for load in loads
        for free in load.free
    )
    work, speeds, end = queued, 0.0, 0.0
    for done, start, unit_seconds in slots:
        if speeds and done >= end:
            break
        work += start / unit_seconds
        speeds += 1.0 / unit_seconds
        end = work / speeds
    return end


def pull(load: NodeLoad, end: float, soonest: float, next_units: float) -> float:
    """Units that a node should pull now; 0 when another node would be done with the next text sooner.

    Args:
        load: The node.
        end: `common_end` of all.
        soonest: The least `finish` over all nodes, for the next text.
        next_units: Units of the next text.
    """
    if finish(load, next_units) > max(end, soonest) * SLACK + 0.001:
        return 0.0
    share = end - load.free[0]
    least = min(max(MIN_REQUEST_S, WORTH * load.overhead), MAX_REQUEST_S)
    seconds = max(min(share * PART, MAX_REQUEST_S), min(share, least))
    return min(max(seconds - load.overhead, 0.001) / load.unit_seconds, load.largest)


def finish(load: NodeLoad, units: float) -> float:
    """Seconds until the node would be done with a request of this much more."""
    return load.free[0] + load.overhead + units * load.unit_seconds
