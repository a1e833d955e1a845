"""What an embedding request carries besides its own texts, to show that nodes are right."""

from __future__ import annotations

from dataclasses import dataclass

from prefect_ollama.blocks.wire.answer import Vectors
from prefect_ollama.blocks.wire.canaries import SHORT
from prefect_ollama.tasks.dispatch.embedding import estimate_units
from prefect_ollama.tasks.dispatch.job import Item
from prefect_ollama.tasks.dispatch.lane import Lane, Request

ONE_CANARY = estimate_units(SHORT[0])
"""Units of one canary text."""


@dataclass(eq=False, slots=True)
class Errand:
    """A text that one node embeds to check another's answer.

    Attributes:
        lane: The node that is checked.
        request: Its request.
        place: Of the text in it.
        vector: What the checking node gave, None before.
    """

    lane: Lane
    request: Request
    place: int
    vector: Vectors | None = None

    @property
    def item(self) -> Item:
        """The text."""
        return self.request.items[self.place]


@dataclass(frozen=True, slots=True)
class Carried:
    """What a request holds after its own texts; errands never without a canary.

    Attributes:
        errands: Texts of other nodes' requests.
        canaries: How many canary texts, after them.
    """

    errands: tuple[Errand, ...] = ()
    canaries: int = 0

    @property
    def payloads(self) -> list[str]:
        """As they are sent."""
        asked = [errand.item.sent for errand in self.errands]
        return [*asked, *SHORT[: self.canaries]]

    @property
    def units(self) -> float:
        """Their work."""
        return sum(errand.item.units for errand in self.errands) + ONE_CANARY * self.canaries

    @property
    def foreign(self) -> int:
        """How many texts belong to other nodes' requests."""
        return len(self.errands)
