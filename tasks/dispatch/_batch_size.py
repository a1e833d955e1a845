"""The size of a node's next request: a part of its share of the remaining work, so that all nodes end together.

Guided self-scheduling (Polychronopoulos & Kuck 1987, doi:10.1109/TC.1987.5009495) gives each pull a fixed part of the
remaining work. Weighted with the measured rates it works for nodes of different speed. Pure functions of numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

# Maximum seconds of a request: longer requests save no overhead, and lose more work if their node fails.
MAX_REQUEST_S = 1.35

# Minimum seconds of a request: shorter requests have more overhead than they improve the balance of nodes.
MIN_REQUEST_S = 0.2

# A request should take at least this many times its overhead, so that the overhead is a small part of the time.
MIN_OVERHEADS = 14.0

# Part of its share that a node takes with one request. With four slots a node, 0.7 reached 0.921 to 0.937 of the
# nodes' rates, and 0.75 reaches 0.939 (benchmarks/README.md, "Dispatch").
PULLED_SHARE = 0.75

# A node still pulls if it ends by up to 5 % later than the others: rates are estimates, and an idle node is worse.
LATE_END_FACTOR = 1.05

# A node takes all of its share if the rest would be shorter than this many times its next text alone, or than this many
# overheads: a further request costs an overhead and a check of its own. With eight overheads, 600 texts on nodes of
# four slots and 20 ms a request reach 0.956 of the nodes' rates in virtual time, and 0.942 without that rule.
MIN_REST_TEXTS = 1.5
MIN_REST_OVERHEADS = 8.0


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """The present load of a node.

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
    """Return the seconds until all work is done, if every slot that can help takes one more request.

    Args:
        queued: Units not sent yet.
        loads: All working nodes, also those without room for another request.
        next_units: Units of the next text; a slot that cannot embed it by then cannot help.
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
    """Return the units that a node should pull now; 0 if another node would finish the next text sooner.

    Args:
        end: `common_end` of all nodes.
        soonest: The smallest `finish` of all nodes for the next text.
        next_units: Units of the next text.
    """
    # A millisecond of tolerance is added, because 5 % of a time near 0 is almost 0.
    if finish(load, next_units) > max(end, soonest) * LATE_END_FACTOR + 0.001:
        return 0.0
    share = end - load.free[0]
    least = min(max(MIN_REQUEST_S, MIN_OVERHEADS * load.overhead), MAX_REQUEST_S)
    seconds = max(min(share * PULLED_SHARE, MAX_REQUEST_S), min(share, least))
    rest = max(MIN_REST_TEXTS * next_units * load.unit_seconds, MIN_REST_OVERHEADS * load.overhead)
    if share - seconds < rest:
        seconds = min(share, MAX_REQUEST_S)
    return min(max(seconds - load.overhead, 0.001) / load.unit_seconds, load.largest)


def finish(load: NodeLoad, units: float) -> float:
    """Return the seconds until the node would be done with a further request of this size."""
    return load.free[0] + load.overhead + units * load.unit_seconds
