"""The options of an answer, and the events before it."""

from collections.abc import Callable
from dataclasses import dataclass

from prefect_ollama.blocks.option import check_bounds, option


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How a question is answered.

    Attributes:
        passages: Maximum number of passages for the model; fewer if its context is too short.
        drafts: Answers that are written at the same time, of which the one with the most verified content is kept.
        answer_tokens: Maximum number of tokens of an answer.
        mark_unsupported: Whether sentences that are not supported stay in the answer, marked, and are not left out.

    Raises:
        ConfigurationError: A number is out of its bounds.
    """

    # Bounds against slips of the keyboard: each draft, and each long prompt, keeps a node busy.
    passages: int = option(
        12,
        "Passages",
        "Maximum number of passages for the model; fewer if its context is too short.",
        ge=1,
        le=100,
    )
    drafts: int = option(
        1,
        "Drafts",
        "Answers that are written at the same time; the one with the most verified content is kept.",
        ge=1,
        le=8,
    )
    answer_tokens: int = option(
        1024, "Answer tokens", "Maximum number of tokens of an answer.", ge=64, le=16384
    )
    mark_unsupported: bool = option(
        False, "Mark unsupported", "Keep unsupported sentences and mark them, instead of leaving them out."
    )

    def __post_init__(self) -> None:
        check_bounds(self, state="Nothing was asked.")


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

    @property
    def line(self) -> str:
        """The step as a line; a sentence of a draft is not checked yet, and says so."""
        return {
            "passages": f"Found {self.text}.",
            "draft": f"Draft, not checked yet: {self.text}",
            "judging": f"Judging {self.text}…",
        }[self.step]


# Called with each step as it comes, in the thread that asks.
Listen = Callable[[AskEvent], None]


def silent(event: AskEvent) -> None:
    """Do nothing."""
