"""A report whose every sentence names the passages that support it, with the steps that made it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from prefect_ollama.blocks.documents.answer import CheckedAnswer, CheckedSentence
from prefect_ollama.blocks.sync_async import Awaitable

# The names of the limits of `tasks.researching.Bounds`; empty for none.
Bound = Literal["", "steps", "tokens", "seconds"]


@dataclass(frozen=True, slots=True)
class ReportPart:
    """What one part of a report found.

    Attributes:
        title: Its question, or the document and pages that it is about.
        findings: Sentences that passed all checks; their quotes name passages of the report's answer.
        dropped: Sentences that did not, with the reason of each.
        note: Why there is no finding, where there is none.
    """

    title: str
    findings: tuple[CheckedSentence, ...] = ()
    dropped: tuple[CheckedSentence, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReportStep:
    """One step of the work on a report.

    Attributes:
        name: What was done.
        nodes: Nodes that answered; empty if none was asked.
        models: Models that answered.
        seconds: Time that it took, by the clock. For a cached step the time when it was done.
        prompt_tokens: Tokens that chat models read for it, as far as nodes report them.
        answer_tokens: Tokens that chat models wrote for it.
        cached: Whether its result is that of an earlier run.
        note: Why it has no result, where it has none.
    """

    name: str
    nodes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    seconds: float = 0.0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    cached: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class CheckedReport(Awaitable):
    """The result of a research or a summary.

    Attributes:
        answer: The synthesis with its quotes; its `dropped` are sentences of the synthesis alone.
        parts: What the parts found, and what was dropped there.
        steps: The steps, in order.
        ended_by: The limit that ended the work early: "steps", "tokens" or "seconds"; empty if none did.
    """

    answer: CheckedAnswer
    parts: tuple[ReportPart, ...] = ()
    steps: tuple[ReportStep, ...] = ()
    ended_by: Bound = ""

    def __bool__(self) -> bool:
        """Return whether the documents hold anything about the question."""
        return bool(self.answer)

    @property
    def text(self) -> str:
        """The sentences of the synthesis, without their quotes."""
        return self.answer.text

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        # `asdict` would give the answer without its text.
        return {**asdict(self), "answer": self.answer.to_dict(), "text": self.text}
