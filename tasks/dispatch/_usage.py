"""The usage of a node by one run, and whether the run may have one more slot there."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import astuple, dataclass

# Seconds after which a run without a request at a node gets a slot, even if other runs hold all slots: their processes
# may be stopped.
SLOT_TIMEOUT_S = 15.0

# Requests of all runs in flight at a node whose slots are not measured yet: one in service, and one that waits there.
UNKNOWN_SLOTS = 2


@dataclass(slots=True)
class Usage:
    """The usage of one node by one run.

    Attributes:
        held: Its requests in flight.
        asks: Since when it waits for a slot, by the machine's monotonic clock; None while it does not wait.
        finds: Whether it measures how many requests the node serves at once.
        urgent: Whether the request that waits goes before all bulk work.
    """

    held: int = 0
    asks: float | None = None
    finds: bool = False
    urgent: bool = False

    def word(self) -> tuple[object, ...]:
        """Return the values that other runs read. Earlier versions know three values."""
        return astuple(self) if self.urgent else astuple(self)[:3]

    def may_take(
        self,
        others: Collection[Usage],
        all_others: Collection[Usage],
        slots: int | None,
        most: int,
        now: float,
    ) -> bool:
        """Return whether the run may have one more slot at the node.

        Args:
            others: Requests of other runs there, of the same kind.
            all_others: The same, of any kind.
            slots: Requests of this kind that the node serves at once.
            most: Requests of any kind in flight there at most.
        """
        total = self.held + sum(other.held for other in others)
        if slots is None and self.held and not any(other.finds for other in others):
            self.finds = True
        if not all_others:
            return True
        if not self.held and self.asks is not None and now - self.asks > SLOT_TIMEOUT_S:
            return True
        if self.held + sum(other.held for other in all_others) >= most:
            return False
        if self.urgent:
            return True
        if any(other.urgent and other.asks is not None for other in all_others):
            return False  # a question waits for a place there
        if not others:
            return True
        if slots is None:
            if self.finds:
                return total == self.held
            return total < UNKNOWN_SLOTS and not any(other.finds for other in others)
        turn = self.held, now if self.asks is None else self.asks
        if any(other.asks is not None and (other.held, other.asks) < turn for other in others):
            return False
        return total < min(max(slots + 1, 1 + len(others)), most)
