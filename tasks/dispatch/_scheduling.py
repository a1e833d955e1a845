"""Scheduling: which node pulls next and how much, and which request an idle node repeats."""

import heapq
import math
from collections.abc import Sequence

from prefect_ollama.tasks.dispatch import _batch_size as batch_size
from prefect_ollama.tasks.dispatch._batch_size import NodeLoad
from prefect_ollama.tasks.dispatch._job import Item
from prefect_ollama.tasks.dispatch._node import Node
from prefect_ollama.tasks.dispatch._request import Request

# A second copy is sent if its expected time is this many times shorter: two nodes then work for one answer, so a
# small gain within the error of the estimates is not enough.
HEDGE_GAIN = 1.2


def seconds_left(nodes: Sequence[Node], queued: float, item: Item, now: float) -> float:
    """Return the seconds until all work is done, if all nodes that work share it; 0 if none works.

    Args:
        queued: Units in the queue.
        item: The next one.
    """
    return batch_size.common_end(queued, list(_loads(nodes, now).values()), item.units)


def next_pull(nodes: Sequence[Node], queued: float, item: Item, now: float) -> tuple[Node, float] | None:
    """Return the node with room that would finish the next item soonest, and the units that it should pull, if any.

    Args:
        queued: Units in the queue.
    """
    load_of = _loads(nodes, now)
    if not load_of:
        return None
    loads = list(load_of.values())
    end = batch_size.common_end(queued, loads, item.units)
    soonest = min(batch_size.finish(load, item.units) for load in loads)
    units_of = {
        node: batch_size.pull(load, end, soonest, item.units)
        for node, load in load_of.items()
        if node.has_room()
    }
    able = [node for node, units in units_of.items() if units > 0]
    best = min(able, key=lambda node: batch_size.finish(load_of[node], item.units), default=None)
    return None if best is None else (best, units_of[best])


def to_hedge(nodes: Sequence[Node], now: float) -> tuple[Node, Request] | None:
    """Return the latest request that another node would finish well before the node that has it.

    With it comes the node that would finish it first and serve it at once.
    """
    load_of = _loads(nodes, now)
    if not any(node.has_free_slot and node.has_room() for node in load_of):
        return None
    found: list[tuple[float, Node, Request]] = []
    for holder in nodes:
        for request in holder.requests:
            if _may_hedge(request):
                due = holder.rate_model.due(now, request.note) if holder.works else math.inf
                found.append((due, holder, request))
    free_of = {node: list(load.free) for node, load in load_of.items()}
    for due, holder, request in sorted(found, key=lambda each: each[0], reverse=True):
        items = request.open_items
        units = sum(item.units for item in items)
        finish_of = {
            node: free_of[node][0] + batch_size.finish(load, units) - load.free[0]
            for node, load in load_of.items()
            if node is not holder and not any(node.name in item.job.avoid for item in items)
        }
        if not finish_of:
            continue
        first = min(finish_of, key=lambda node: finish_of[node])
        # Some milliseconds are added, because a factor alone has no effect on times near 0.
        if due <= HEDGE_GAIN * (finish_of[first] + 0.002) + 0.005:
            continue
        if first.has_free_slot and first.has_room():
            return first, request
        # A slower node would only keep the copy from this one, which is free soon. The faster node cannot take
        # the copies of all late requests, so its next one starts after this one.
        heapq.heapreplace(free_of[first], finish_of[first])
    return None


def _loads(nodes: Sequence[Node], now: float) -> dict[Node, NodeLoad]:
    """Return the loads of the nodes that can take work.

    A proof is a short request, which shows too low a rate. The first answer of a node shows the error of its proof. The
    proofs of nodes without an answer count as just as wrong. Otherwise the node that answers first would take the share
    of the other nodes too.
    """
    errors = [error for node in nodes if (error := node.rate_model.proof_error) is not None]
    # At most 1, because nodes with an answer take the work of a node later that is slower than its proof.
    error = min([1.0, *errors])
    return {node: node.load(now, error) for node in nodes if node.works and not node.stalled()}


def _may_hedge(request: Request) -> bool:
    items = request.open_items
    return bool(items) and all(item.copies == 1 and item.job.may_hedge for item in items)
