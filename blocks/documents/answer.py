"""Answers to questions. Each sentence has quotes, word for word, from the passages that support it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, Self

from prefect_ollama.blocks.documents.hit import Hit
from prefect_ollama.blocks.sync_async import Awaitable

# Kinds of an answer: written by a chat model, sentences of the documents, or none.
ANSWER: Final = "answer"
EXTRACT: Final = "extract"
NOT_FOUND: Final = "not_found"

# The words again, because a `Literal` takes no names.
AnswerKind = Literal["answer", "extract", "not_found"]
RefusedBy = Literal["", "passages", "chat model", "checks"]


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of a passage, unchanged.

    Attributes:
        passage: Number of the passage in `CheckedAnswer.passages`, counted from 1.
        text: The words; `passages[passage - 1].text[start:end]`.
        start: Character of the passage at which they begin.
        end: Character after their last one.
        path: The document's path within its source.
        source: The document's source.
        page_from: First page of the passage, counted from 1.
        page_to: Last page.
        context: The sentences of the passage around the words.
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
    def of(cls, passages: tuple[Hit, ...], number: int, start: int, end: int, context: str) -> Self:
        """Return the characters `start` to `end` of the passage with this number, counted from 1."""
        hit = passages[number - 1]
        words = hit.text[start:end]
        return cls(number, words, start, end, hit.path, hit.source, hit.page_from, hit.page_to, context)


@dataclass(frozen=True, slots=True)
class CheckedSentence:
    """One sentence of an answer, with the results of its checks.

    Attributes:
        text: The sentence.
        quotes: Its support; each quote was found in its passage.
        supported: Whether all checks passed.
        reason: The check that failed, for people; empty if none did.
        judged_by: Who judged whether the quotes support it: a judge model's name, "words and embeddings", or
            "verbatim" for a sentence of a document. Empty if an earlier check failed.
        score: Score of words and embeddings, 0 to 1; None if they did not judge.
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
        kind: "answer" if a chat model wrote it, "extract" for sentences of the documents, "not_found" if the documents
            do not answer the question.
        sentences: The sentences to show, in order.
        dropped: Sentences of the chosen draft that are not supported, each with its reason.
        passages: The passages that the model read, in reading order.
        notes: Notes for the reader, a sentence each.
        model: The chat model; empty if there was none.
        judged_by: Who judged support: a judge model's name, "words and embeddings", or "verbatim".
        nodes: Names of the nodes that answered or judged.
        drafts: Number of usable drafts.
        seconds: Time from the question to the checked answer.
        prompt_tokens: Tokens that chat models read, as far as nodes report them.
        answer_tokens: Tokens that chat models wrote.
        chance: Chance, 0 to 1, that the passages hold an answer; None if a chat model decides it.
        refused_by: What decided that the documents do not answer the question: "passages" if they fit it too little,
            so that no chat model was asked, "chat model" if it wrote nothing, or "checks" if none of its sentences is
            supported. Empty for an answer, and in reports, whose parts say it.
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
    chance: float | None = None
    refused_by: RefusedBy = ""

    def __bool__(self) -> bool:
        """Return whether the documents answer the question."""
        return self.kind != NOT_FOUND

    @property
    def text(self) -> str:
        """The sentences to show, without their quotes."""
        return " ".join(each.text for each in self.sentences)

    def quotes(self) -> Iterator[Quote]:
        """Yield the different quotes of the sentences to show, in order of first use."""
        # One quote may support several sentences, and is listed once.
        yield from dict.fromkeys(quote for sentence in self.sentences for quote in sentence.quotes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        # `asdict` knows no properties.
        return {**asdict(self), "text": self.text}
