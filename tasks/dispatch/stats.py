"""Statistics of the dispatcher: one consistent snapshot, which can be kept and sent to other processes."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class NodeStats:
    """The statistics of one node.

    Attributes:
        name: Its name.
        state: State of its breaker: closed, open or half-open.
        texts: Texts whose vector came from it.
        requests: Requests that it answered.
        hedged: Requests sent to it as a second copy.
        wasted: Texts that it embedded for nothing, because another node was first.
        in_flight: Requests in flight.
        busy_seconds: Time in which it had work.
        texts_per_second: Mean over its busy time, 0 before its first answer.
        p50: Median seconds of a request.
        p95: 95th percentile of the same.
        errors: Number of errors by cause.
        last_error: Text of the last error, empty for none.
        kinds: Number of errors by `NodeError.kind`.
        gone_since: When its breaker opened, by `time.time()`; None while it is closed.
        silent: Whether only its silence keeps it from work; it may be a pause.
    """

    name: str
    state: str
    texts: int
    requests: int
    hedged: int
    wasted: int
    in_flight: int
    busy_seconds: float
    texts_per_second: float
    p50: float
    p95: float
    errors: dict[str, int] = field(default_factory=dict)
    last_error: str = ""
    kinds: dict[str, int] = field(default_factory=dict)
    gone_since: float | None = None
    silent: bool = False


@dataclass(frozen=True, slots=True)
class DispatchStats:
    """The statistics of all nodes, and the number of texts in the queue."""

    nodes: tuple[NodeStats, ...]
    queued: int
