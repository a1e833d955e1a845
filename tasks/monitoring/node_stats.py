"""The present state of the nodes, and how much of them a run used, from the statistics of all processes that embed.

Guarantees: each message of a process counts once, in any order of the messages. A process that became silent keeps its
totals, and has nothing in flight. A value that was not sent is never guessed.
"""

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from operator import add
from typing import Any, Literal

from prefect_ollama.tasks.dispatch import NodeStats, stats_by_node
from prefect_ollama.tasks.monitoring.timeline import Timeline

# Works: it has requests in flight. Fails: its breaker is not closed. Unknown: no message about it has come.
Activity = Literal["works", "idle", "fails", "unknown"]

# Seconds between two messages of a process.
SEND_INTERVAL_S = 0.5

# A process that sends nothing for this many seconds has ended its work: it sends twice a second.
ENDED_AFTER_S = 5.0

# Seconds of the present rate, or the time of two requests of the node if that is longer, up to a minute: with less
# than two requests the rate would jump.
RATE_WINDOW_S = 5.0
MAX_RATE_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class NodeNow(NodeStats):
    """One node, over all processes. Its breaker has the best state of all processes: closed, half-open, or open.

    Attributes:
        share: Part of all texts, 0 to 1.
        now: Texts a second in the last seconds.
    """

    share: float = 0.0
    now: float = 0.0

    @property
    def activity(self) -> Activity:
        """The present activity of the node, for people."""
        if not self.state:
            return "unknown"
        if self.state != "closed":
            return "fails"
        return "works" if self.in_flight else "idle"


class LiveNodes:
    """Takes messages of statistics, from any thread.

    Args:
        names: All nodes, in the order in which to show them.

    Attributes:
        timeline: What each node did since this was made.
    """

    def __init__(self, names: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self.timeline = Timeline()
        self._clock = clock
        self._names = list(names)
        self._start = clock()
        self._lock = threading.Lock()
        self._processes: dict[str, _Process] = {}
        self._tallies: dict[str, _Tally] = {name: _Tally(self._start) for name in names}

    def take(self, message: Any) -> None:
        """Take a message of `publishing`; other messages are ignored."""
        with contextlib.suppress(KeyError, TypeError, AttributeError):
            nodes = {each["name"]: _known_stats(each) for each in message["nodes"]}
            with self._lock:
                self._take(str(message["process"]), float(message["at"]), nodes, self._clock())

    def nodes(self) -> tuple[NodeNow, ...]:
        """Return all nodes, as they are now."""
        now = self._clock()
        with self._lock:
            self.timeline.reach(now - self._start)
            total = sum(tally.texts for tally in self._tallies.values()) or 1
            return tuple(self._node(name, total, now) for name in self._names)

    def _take(self, name: str, at: float, nodes: dict[str, NodeStats], heard: float) -> None:
        process = self._processes.setdefault(name, _Process())
        if at < process.at:
            return
        # Messages come late when a machine is busy; the quickest one shows the offset of its clock.
        process.ahead = min(process.ahead, heard - at)
        now = max(at + process.ahead, self._start + 1e-3)
        since = max(process.at + process.ahead, now - 2 * SEND_INTERVAL_S)
        for node in nodes.values():
            tally = self._tallies.get(node.name)
            if tally is None:
                continue
            before = process.nodes.get(node.name)
            new = node.texts - (before.texts if before else 0)
            # The count falls when answers are discarded, or count for another node whose answer was confirmed first.
            tally.texts += new
            if new > 0:
                # The node worked on these texts since its last answer, or for the time of a request.
                begin = max(process.came.get(node.name, 0.0), now - max(node.p50, 2 * SEND_INTERVAL_S))
                begin = min(begin, now - 1e-3)
                process.came[node.name] = now
                self.timeline.add(node.name, begin - self._start, now - self._start, new)
                tally.add(begin, now, new)
            elif new < 0:
                self.timeline.take_back(node.name, -new)
            if node.state != "closed":
                self.timeline.note_trouble(node.name, since - self._start, now - self._start)
        process.at, process.heard = at, heard
        process.nodes |= nodes

    def _node(self, name: str, total: int, now: float) -> NodeNow:
        known = [
            (process, process.nodes[name]) for process in self._processes.values() if name in process.nodes
        ]
        if not known:
            return NodeNow(name)
        known.sort(key=lambda each: each[0].heard)
        active = [node for process, node in known if now - process.heard < ENDED_AFTER_S]
        whole = reduce(add, (node for _, node in known))
        present = active or [known[-1][1]]
        states = {node.state for node in present}
        state = next(state for state in ("closed", "half-open", "open") if state in states)
        tally = self._tallies[name]
        changed = {
            "state": state,
            "texts": tally.texts,
            "in_flight": sum(node.in_flight for node in active),
            # Processes may keep it busy at the same time.
            "busy_seconds": min(whole.busy_seconds, now - self._start),
            "silent": state != "closed" and all(node.silent for node in present),
            "refused": state != "closed" and all(node.refused for node in present),
            "share": tally.texts / total,
            "now": tally.rate(now, min(max(RATE_WINDOW_S, 2 * whole.p50), MAX_RATE_WINDOW_S)),
        }
        return NodeNow(**{each.name: getattr(whole, each.name) for each in fields(whole)} | changed)


class _Process:
    def __init__(self) -> None:
        self.at = -math.inf
        self.ahead = math.inf
        self.heard = 0.0
        self.nodes: dict[str, NodeStats] = {}
        self.came: dict[str, float] = {}


class _Tally:
    """A node's texts, and when it worked on those of the last minute."""

    def __init__(self, start: float) -> None:
        self.texts = 0
        self._start = start
        self._spans: deque[tuple[float, float, int]] = deque()

    def add(self, begin: float, end: float, texts: int) -> None:
        self._spans.append((begin, end, texts))
        while self._spans[0][1] < end - MAX_RATE_WINDOW_S:
            self._spans.popleft()

    def rate(self, now: float, seconds: float) -> float:
        seconds = max(min(seconds, now - self._start), SEND_INTERVAL_S)
        since = now - seconds
        return (
            sum(
                texts * (end - max(begin, since)) / (end - begin)
                for begin, end, texts in self._spans
                if end > since
            )
            / seconds
        )


_KNOWN = frozenset(field.name for field in fields(NodeStats))


def _known_stats(values: dict[str, Any]) -> NodeStats:
    """Return the statistics in a message; a worker of a later version may send further values."""
    known = {name: value for name, value in values.items() if name in _KNOWN}
    return NodeStats(**known | {"state": values["state"], "texts": values["texts"]})


def efficiency(
    stats: Iterable[Iterable[NodeStats]], seconds: float, ended: float | None = None
) -> float | None:
    """Return the fraction of texts embedded, of those that the same nodes could have embedded without waiting.

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
