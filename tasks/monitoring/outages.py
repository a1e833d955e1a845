"""Decide when a node counts as down and when as back, without reports for every short failure."""

from collections.abc import Collection
from typing import Literal

# Seconds that a node must fail before it counts as down.
DOWN_AFTER_S = 2.0

# Seconds until a node that is only silent counts as down: longer, because it may wait for a core of its machine.
SILENT_AFTER_S = 30.0

# Seconds that it must work again before it counts as back: twice as long after each outage, up to five minutes, so
# that a node which fails again and again is not reported each time.
BACK_AFTER_S = 5.0
MAX_BACK_AFTER_S = 300.0

# The change of a node's state.
Change = Literal["down", "back"]


class Outages:
    """Follows the nodes of a run.

    Args:
        down: Nodes that are down from the start.

    Attributes:
        down: Nodes that count as down now.
    """

    def __init__(self, down: Collection[str] = ()) -> None:
        self.down: set[str] = set(down)
        self._since: dict[str, float] = {}
        self._times: dict[str, int] = {}

    def see(
        self, node: str, *, fails: bool, now: float, silent: bool = False, ended: bool = False
    ) -> Change | None:
        """Note the present state of a node; return whether the node went down or came back, or None if it did neither.

        Args:
            fails: Whether its breaker keeps it from work.
            now: Seconds of a monotonic clock.
            silent: Whether it fails only by its silence.
            ended: Whether this is the last look; a node that works then is back at once.
        """
        if fails == (node in self.down):
            self._since.pop(node, None)
            return None
        lasted = now - self._since.setdefault(node, now)
        if fails and lasted >= (SILENT_AFTER_S if silent else DOWN_AFTER_S):
            self.down.add(node)
            self._times[node] = self._times.get(node, 0) + 1
        elif not fails and (ended or lasted >= self._back_after(node)):
            self.down.discard(node)
        else:
            return None
        del self._since[node]
        return "down" if fails else "back"

    def _back_after(self, node: str) -> float:
        return min(BACK_AFTER_S * 2.0 ** max(self._times.get(node, 0) - 1, 0), MAX_BACK_AFTER_S)
