"""A request in flight: its items, the checks that it carries, and its answer's place among those of its node."""

import asyncio
import math
from dataclasses import dataclass

from prefect_ollama.tasks.dispatch._job import Item
from prefect_ollama.tasks.dispatch._request_kind import Carried, Reply
from prefect_ollama.tasks.dispatch._slot_measurement import Sent


@dataclass(eq=False, slots=True)
class Request:
    """One request in flight.

    Attributes:
        note: The request in the node's rate model.
        number: Its position in the order of sending, over all nodes.
        overdue: Whether it has taken so long that others are asked.
        given_up: Whether it was cancelled here.
        answers_before: Answers that its node had given when it was sent.
        place: Position of its answer among those of its node, from 1; infinite before it came.
        share: Node seconds and tokens of each of its texts, once it is answered.
    """

    items: list[Item]
    note: Sent
    task: asyncio.Task[Reply]
    number: int
    carried: Carried
    overdue: bool = False
    given_up: bool = False
    answers_before: int = 0
    place: float = math.inf
    share: tuple[float, int] = (0.0, 0)

    def give_up(self) -> None:
        """Cancel it."""
        self.given_up = True
        self.task.cancel()

    @property
    def texts(self) -> int:
        """How many texts it holds in all, checks included."""
        return len(self.items) + len(self.carried.payloads)

    @property
    def open_items(self) -> list[Item]:
        """Items without an answer from any node."""
        return [item for item in self.items if not item.answered]
