"""The hits of a question, as a list with notes for the reader."""

from collections.abc import Iterable

from prefect_ollama.blocks.documents.hit import Hit
from prefect_ollama.blocks.errors import PrefectOllamaError
from prefect_ollama.blocks.sync_async import AwaitableList


class Found(AwaitableList[Hit]):
    """The hits of one question, the best first.

    Attributes:
        question: The question.
        notes: Notes for the reader, a sentence each, for example that a reranker did not answer.
        error: Why there are no hits, if this question of several failed.
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


# Results of searches that Prefect keeps from earlier versions name this function in their pickles.
def _restore(
    hits: list[Hit], question: str, notes: tuple[str, ...], error: PrefectOllamaError | None
) -> Found:
    return Found(hits, question=question, notes=notes, error=error)
