"""What a request carries besides its own texts, to show that nodes are right, and what came to light by it."""

from __future__ import annotations

from dataclasses import dataclass, field

from prefect_ollama.blocks.errors import NodeAnswerError
from prefect_ollama.blocks.wire.answer import Answer, Vectors
from prefect_ollama.blocks.wire.canaries import SHORT
from prefect_ollama.tasks.dispatch.job import Item, estimate_units
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
    def texts(self) -> list[str]:
        """As they are sent."""
        asked = [errand.item.sent for errand in self.errands]
        return [*asked, *SHORT[: self.canaries]]

    @property
    def units(self) -> float:
        """Their work."""
        return sum(errand.item.units for errand in self.errands) + ONE_CANARY * self.canaries


@dataclass(slots=True)
class Findings:
    """What came to light.

    Attributes:
        believed: Answers that may be handed on.
        liars: Nodes that gave a wrong vector, with the reason.
        lost: Texts whose answer can't be checked any more.
    """

    believed: list[tuple[Lane, Request, Answer]] = field(default_factory=list)
    liars: list[tuple[Lane, NodeAnswerError]] = field(default_factory=list)
    lost: list[tuple[Lane, list[Item]]] = field(default_factory=list)
