"""Statistics of the dispatcher: one consistent snapshot, which can be kept and sent to other processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class NodeStats:
    """The statistics of one node.

    Attributes:
        name: Its name.
        state: State of its breaker: closed, open or half-open; empty if it is not known.
        texts: Texts whose vector came from it.
        requests: Requests that it answered.
        hedged: Requests sent to it as a second copy.
        wasted: Texts that it embedded for nothing, because another node was first.
        in_flight: Requests in flight.
        busy_seconds: Time in which it had work.
        p50: Median seconds of a request.
        p95: 95th percentile of the same.
        errors: Number of errors by cause.
        last_error: Text of the last error, empty for none.
        kinds: Number of errors by `NodeError.kind`.
        gone_since: When its breaker opened, by `time.time()`; None while it is closed.
        silent: Whether only its silence keeps it from work; it may be a pause.
        refused: Whether it answers, and is kept from work because its model is missing or another one.
    """

    name: str
    state: str = ""
    texts: int = 0
    requests: int = 0
    hedged: int = 0
    wasted: int = 0
    in_flight: int = 0
    busy_seconds: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)
    last_error: str = ""
    kinds: dict[str, int] = field(default_factory=dict)
    gone_since: float | None = None
    silent: bool = False
    refused: bool = False

    def __add__(self, later: NodeStats) -> NodeStats:
        """Return the statistics of two processes as one: sums, and the state and the last error of the later one."""
        sums = ("texts", "requests", "hedged", "wasted", "in_flight", "busy_seconds")
        gone = [each.gone_since for each in (self, later) if each.gone_since is not None]
        changed: dict[str, Any] = {name: getattr(self, name) + getattr(later, name) for name in sums}
        for name in ("errors", "kinds"):
            changed[name] = Counter(getattr(self, name)) + Counter(getattr(later, name))
        return replace(
            later,
            **changed,
            p50=(self.p50 * self.requests + later.p50 * later.requests) / (changed["requests"] or 1),
            p95=max(self.p95, later.p95),  # that of all requests does not follow from those of the parts
            last_error=later.last_error or self.last_error,
            gone_since=max(gone) if len(gone) == 2 else None,  # the node is there if one process can use it
        )


def stats_by_node(processes: Iterable[Iterable[NodeStats]]) -> dict[str, NodeStats]:
    """Return the statistics of each node over all processes, by name."""
    found: dict[str, NodeStats] = {}
    for process in processes:
        for node in process:
            found[node.name] = found[node.name] + node if node.name in found else node
    return found
