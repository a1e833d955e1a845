"""Checks that an embedding request carries beside its own texts."""

from __future__ import annotations

from dataclasses import dataclass

from prefect_ollama.blocks.nodes import SHORT, Vectors
from prefect_ollama.tasks.dispatch._job import Item
from prefect_ollama.tasks.dispatch._node import Node, Request
from prefect_ollama.tasks.dispatch._request_kind import Carried
from prefect_ollama.tasks.dispatch.embedding import estimate_units

# Units of one canary text.
ONE_CANARY = estimate_units(SHORT[0])


@dataclass(eq=False, slots=True)
class Check:
    """A text that one node embeds to check another's answer.

    Attributes:
        node: The node that is checked.
        request: Its request.
        index: Position of the text in the request.
        vector: The vector from the checking node; None until it has answered.
    """

    node: Node
    request: Request
    index: int
    vector: Vectors | None = None

    @property
    def item(self) -> Item:
        """The text."""
        return self.request.items[self.index]


@dataclass(frozen=True, slots=True)
class CarriedChecks(Carried):
    """The checks after a request's own texts. Texts of other nodes always come with a canary.

    Attributes:
        checks: Texts of other nodes' requests.
        canaries: How many canary texts, after them.
    """

    checks: tuple[Check, ...] = ()
    canaries: int = 0

    @property
    def payloads(self) -> list[str]:
        """The texts, as they are sent."""
        asked = [check.item.sent for check in self.checks]
        return [*asked, *SHORT[: self.canaries]]

    @property
    def units(self) -> float:
        """Their work."""
        return sum(check.item.units for check in self.checks) + ONE_CANARY * self.canaries

    @property
    def foreign(self) -> int:
        """How many texts belong to other nodes' requests."""
        return len(self.checks)
