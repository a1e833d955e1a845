"""How a question is answered, and what is told meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from prefect_ollama.blocks.errors import ConfigurationError

# Bounds against slips of the keyboard: each draft, and each long prompt, keeps a node busy.
MOST_PASSAGES: Final = 100
MOST_DRAFTS: Final = 8


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How a question is answered.

    Attributes:
        passages: Passages that are given to the model at most; fewer where its context is too short.
        drafts: Answers that are written at the same time, of which the one with the most verified content is kept.
        answer_tokens: Tokens of an answer at most.
        mark_unsupported: Whether sentences that are not supported stay in the answer, marked, and are not left out.

    Raises:
        ConfigurationError: A number is out of its bounds.
    """

    passages: int = 12
    drafts: int = 1
    answer_tokens: int = 1024
    mark_unsupported: bool = False

    def __post_init__(self) -> None:
        bounds = {
            "passages": (self.passages, 1, MOST_PASSAGES),
            "drafts": (self.drafts, 1, MOST_DRAFTS),
            "answer_tokens": (self.answer_tokens, 64, 16384),
        }
        for name, (value, least, most) in bounds.items():
            if not least <= value <= most:
                raise ConfigurationError(
                    f"{name} is {value}.",
                    state="Nothing was asked.",
                    remedy=f"Give a number from {least} to {most}.",
                )


@dataclass(frozen=True, slots=True)
class AskEvent:
    """A step of an answer.

    Attributes:
        step: "passages" when they were found, "draft" when a sentence of the first draft was written, "judging" when
            sentences are about to be judged.
        text: The step in words.
        count: Passages found, sentences written, or pairs to judge.
    """

    step: str
    text: str
    count: int = 0


# Called with each step as it comes, in the thread that asks.
Listen = Callable[[AskEvent], None]


def silent(event: AskEvent) -> None:
    """Do nothing."""
