"""One step of a report: its result, and what it cost."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from prefect_ollama.blocks.documents import Bound, ReportStep
from prefect_ollama.blocks.nodes import ChatReply
from prefect_ollama.tasks.dispatch import ChatAnswer
from prefect_ollama.tasks.researching.bounded_chat import BoundedChat
from prefect_ollama.tasks.researching.bounds import BoundReached

T = TypeVar("T")

# Of a step that asked no node.
NO_COST: Final = ReportStep("")


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """The result of a step.

    Attributes:
        value: The result; None if a limit did not allow the step.
        cost: What it cost, as a line of the report that has no name yet. Tokens are also those of thinking, and of
            answers that could not be used.
        bound: The limit, where one did not allow it.
        whole: Whether every request of it was answered. A result that is not whole is not kept for later runs.
        said: The result in words, for the log.
    """

    value: T | None
    cost: ReportStep = NO_COST
    bound: Bound = ""
    whole: bool = True
    said: str = ""


def run_within_bounds(
    chats: Sequence[BoundedChat],
    work: Callable[[], T],
    *,
    whole: Callable[[T], bool] = lambda _: True,
    say: Callable[[T], str] = lambda _: "",
) -> Done[T]:
    started = time.monotonic()
    value: T | None = None
    bound: Bound = ""
    try:
        value = work()
    except BoundReached as reached:
        # A reached limit is not a failure: the report is made from the finished parts.
        bound = reached.bound
    answers = [answer for chat in chats for answer in chat.answers]
    counted: list[ChatAnswer | ChatReply] = [*answers, *(reply for chat in chats for reply in chat.rejected)]
    cost = ReportStep(
        "",
        tuple(sorted({answer.node for answer in answers})),
        tuple(sorted({answer.model for answer in answers})),
        time.monotonic() - started,
        sum(each.prompt_tokens for each in counted),
        sum(each.answer_tokens for each in counted),
    )
    if value is None:
        return Done(None, cost, bound, whole=False)
    return Done(value, cost, bound, whole(value), say(value))
