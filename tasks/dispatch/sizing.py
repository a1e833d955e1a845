"""How much a node pulls: its share of what is left, in ever smaller requests, so that all end together.

Guided self-scheduling (Polychronopoulos & Kuck 1987, doi:10.1109/TC.1987.5009495) gives each pull a fixed
part of what remains; weighted by the learned rates it holds for unlike nodes. Pure functions of numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LONGEST = 1.5
"""Seconds that a request should take at most: longer ones save nothing more and lose more with a node."""

SHORTEST = 0.02
"""Seconds that a request should take at least: shorter ones cost more to send than they balance."""

WORTH = 3.0
"""A request should take at least this many times as long as the shortest one so far, so that what any
request costs does not eat the node's time."""

SLACK = 1.05


@dataclass(frozen=True, slots=True)
class Standing:
    """A node as it stands now.

    Attributes:
        rate: Units a second.
        backlog: Seconds of work in flight.
        wait: Seconds until it would begin with one more request.
        slots: Requests that it serves at once, each at its share of the rate.
        largest: Units to risk in one request.
        least: Seconds of its shortest request.
    """

    rate: float
    backlog: float
    wait: float
    slots: float
    largest: float
    least: float


def common_end(queued: float, nodes: Sequence[Standing]) -> float:
    """Seconds until all is done when every node works to the end.

    Args:
        queued: Units not sent yet.
        nodes: All nodes that work, those with no room for another request too.
    """
    rates = sum(node.rate for node in nodes)
    return (queued + sum(node.rate * node.backlog for node in nodes)) / rates


def pull(node: Standing, end: float, soonest: float, next_units: float) -> float:
    """Units that a node should pull now; 0 when another node would be done with the next text sooner.

    Args:
        node: The node.
        end: `common_end` of all.
        soonest: The least `finish` over all nodes, for the next text.
        next_units: Units of the next text.
    """
    if finish(node, next_units) > max(end, soonest) * SLACK + 0.001:
        return 0.0
    share = end - node.wait
    seconds = max(min(share / 2.0, LONGEST), SHORTEST, min(share, WORTH * node.least))
    return min(node.rate / node.slots * seconds, node.largest)


def finish(node: Standing, units: float) -> float:
    """Seconds until the node would be done with a request of this much more."""
    return node.wait + units * node.slots / node.rate
