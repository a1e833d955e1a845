"""What a question found: a list of hits that also says what a reader should know of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prefect_ollama.blocks.awaited import AwaitableList
from prefect_ollama.blocks.documents.document import Hit
from prefect_ollama.blocks.errors import PrefectOllamaError


class Found(AwaitableList[Hit]):
    """The hits of one question, the best first.

    Attributes:
        question: The question.
        notes: What a reader should know, a sentence each, for example that a reranker did not answer.
        error: Why there are no hits, where several questions were asked at once and this one failed.
    """

    def __init__(
        self,
        hits: Iterable[Hit] = (),
        *,
        question: str = "",
        notes: Iterable[str] = (),
        error: PrefectOllamaError | None = None,
    ) -> None:
        super().__init__(hits)
        self.question, self.notes, self.error = question, tuple(notes), error

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (list(self), self.question, self.notes, self.error)


def _restore(
    hits: list[Hit], question: str, notes: tuple[str, ...], error: PrefectOllamaError | None
) -> Found:
    return Found(hits, question=question, notes=notes, error=error)
