"""Checks that an embedding request carries in addition to its own texts."""

from __future__ import annotations

from collections.abc import Sequence
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


def carry(checks: Sequence[Check], *, canaries: int) -> Carried:
    """Return the texts that a request carries after its own: those of the checks, then `canaries` canary texts."""
    payloads = [*(check.item.sent for check in checks), *SHORT[:canaries]]
    units = sum(check.item.units for check in checks) + ONE_CANARY * canaries
    return Carried(payloads, units, tuple(checks))
