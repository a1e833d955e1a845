"""A snapshot of a run. A program that starts a run can receive its snapshots, and show them in its own way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from prefect_ollama.tasks.monitoring.node_stats import NodeNow
from prefect_ollama.tasks.monitoring.progress import ProgressState


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment.

    Attributes:
        source: Name of its source.
        seconds: Time since its nodes were verified.
        progress_state: Its progress.
        nodes: The state of its nodes.
        down: Names of the nodes that count as down.
        ended: Whether this is the last snapshot.
    """

    source: str
    seconds: float
    progress_state: ProgressState
    nodes: tuple[NodeNow, ...]
    down: frozenset[str]
    ended: bool = False

    @property
    def texts(self) -> int:
        """Texts that nodes have embedded."""
        return sum(node.texts for node in self.nodes)

    @property
    def now(self) -> float:
        """Texts a second of all nodes in the last seconds."""
        return sum(node.now for node in self.nodes)


Observer = Callable[[Snapshot], None]

_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)

# Returns the function that receives the snapshots of runs in this context.
observer = _observer.get


@contextmanager
def observed_by(show: Observer) -> Iterator[None]:
    """Let runs that start in this context call `show` with a snapshot, twice a second from another thread."""
    token = _observer.set(show)
    try:
        yield
    finally:
        _observer.reset(token)
