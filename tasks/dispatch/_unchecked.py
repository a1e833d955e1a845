"""The check for kinds of request whose answers are confirmed at once, because the client has checked each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from prefect_ollama.tasks.dispatch._job import Item
from prefect_ollama.tasks.dispatch._node import Node, Request
from prefect_ollama.tasks.dispatch._request_kind import Findings, Reply


@dataclass(frozen=True, slots=True)
class _Nothing:
    """Requests carry no payloads except their own."""

    payloads: tuple[()] = ()
    units: float = 0.0
    foreign: int = 0


NOTHING: Final = _Nothing()


class Unchecked:
    """Confirms every answer at once.

    Args:
        room: Highest number of items in a request.
    """

    def __init__(self, room: int) -> None:
        self._room = room

    def room(self, node: Node) -> int:
        """Return how many items a request may hold."""
        return self._room

    def check_cost(self, node: Node, now: float) -> float:
        """Return 0."""
        return 0.0

    def to_carry(self, node: Node, items: Sequence[Item], now: float, *, last: bool) -> _Nothing:
        """Return nothing to carry."""
        return NOTHING

    def pending_checks(self, now: float, *, last: bool) -> tuple[Sequence[tuple[Node, _Nothing]], Findings]:
        """Return that nothing has to be checked."""
        return (), Findings()

    def sent(self, request: Request, carried: Any) -> None:
        """Do nothing."""

    def needs(self, request: Request) -> bool:
        """Return False: a request holds nothing except its items."""
        return False

    def arrived(self, node: Node, request: Request, reply: Reply) -> Findings:
        """Return the answer as confirmed."""
        return Findings(confirmed=[(node, request, reply)])

    def failed(self, request: Request, *, cancelled: bool) -> Findings:
        """Return that nothing has to be checked in another way."""
        return Findings()

    def verified(self, node: Node) -> list[tuple[Node, Request, Reply]]:
        """Return that no answer waits."""
        return []

    def discard_unverified(self, node: Node) -> list[Item]:
        """Return that no answer waits."""
        return []
