"""An answer whose every sentence names the passages that support it, word for word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from prefect_ollama.blocks.awaited import Awaitable
from prefect_ollama.blocks.documents.document import Hit

ANSWER: Final = "answer"
EXTRACT: Final = "extract"
NOT_FOUND: Final = "not_found"

AnswerKind = Literal["answer", "extract", "not_found"]


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of a passage, as they stand in it.

    Attributes:
        passage: Number of the passage in `CheckedAnswer.passages`, counted from 1.
        text: The words; `passages[passage - 1].text[start:end]`.
        start: Where they begin in the passage, in characters.
        end: Where they end.
        path: The document's path within its source.
        source: The document's source.
        page_from: First page of the passage, counted from 1.
        page_to: Last page.
        context: The sentences of the passage in which the words stand.
    """

    passage: int
    text: str
    start: int
    end: int
    path: str
    source: str
    page_from: int
    page_to: int
    context: str = ""

    @property
    def pages(self) -> str:
        """The pages of the passage in words: "page 3" or "pages 3-4"."""
        if self.page_from == self.page_to:
            return f"page {self.page_from}"
        return f"pages {self.page_from}-{self.page_to}"

    @classmethod
    def of(cls, passages: tuple[Hit, ...], number: int, start: int, end: int, context: str) -> Quote:
        """Return the words of a passage between two places.

        Args:
            passages: The passages of an answer.
            number: Of the passage, counted from 1.
            start: Where the words begin.
            end: Where they end.
            context: The sentences around them.
        """
        hit = passages[number - 1]
        return cls(
            number,
            hit.text[start:end],
            start,
            end,
            hit.path,
            hit.source,
            hit.page_from,
            hit.page_to,
            context,
        )


@dataclass(frozen=True, slots=True)
class CheckedSentence:
    """One sentence of an answer, and what the checks found.

    Attributes:
        text: The sentence.
        quotes: What supports it; each was found in its passage.
        supported: Whether all checks passed.
        reason: Why not, where one did not.
        judged_by: What judged whether the quotes support it: a judge model's name, "words and embeddings", or
            "verbatim" for a sentence of a document. Empty where an earlier check failed.
        score: Score of words and embeddings, 0 to 1; None where they did not judge.
    """

    text: str
    quotes: tuple[Quote, ...] = ()
    supported: bool = False
    reason: str = ""
    judged_by: str = ""
    score: float | None = None


@dataclass(frozen=True, slots=True)
class CheckedAnswer(Awaitable):
    """The answer to a question.

    Attributes:
        question: The question.
        kind: "answer" for one that a chat model wrote, "extract" for sentences of the documents, "not_found" where the
            documents do not hold it.
        sentences: What is shown, in order.
        dropped: Sentences of the chosen draft that are not supported, with the reason of each.
        passages: What was given to the model, in reading order.
        notes: What a reader should know of it, a sentence each.
        model: The chat model, empty where there was none.
        judged_by: What judged support: a judge model's name, "words and embeddings", or "verbatim".
        nodes: Nodes that answered or judged.
        drafts: How many drafts were usable.
        seconds: From the question to the checked answer.
        prompt_tokens: Tokens that chat models read for it, as far as nodes said.
        answer_tokens: Tokens that chat models wrote for it.
    """

    question: str
    kind: AnswerKind = NOT_FOUND
    sentences: tuple[CheckedSentence, ...] = ()
    dropped: tuple[CheckedSentence, ...] = ()
    passages: tuple[Hit, ...] = ()
    notes: tuple[str, ...] = ()
    model: str = ""
    judged_by: str = ""
    nodes: tuple[str, ...] = ()
    drafts: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    answer_tokens: int = 0

    def __bool__(self) -> bool:
        """Return whether the documents hold an answer."""
        return self.kind != NOT_FOUND

    @property
    def text(self) -> str:
        """The sentences that are shown, without their quotes."""
        return " ".join(each.text for each in self.sentences)

    def quotes(self) -> Iterator[Quote]:
        """Yield the different quotes of the sentences that are shown, in order of their first use."""
        yield from dict.fromkeys(quote for sentence in self.sentences for quote in sentence.quotes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        plain = asdict(self)
        return {**plain, "text": self.text}
