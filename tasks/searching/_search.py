"""A search for several questions: they are embedded together, and their passages are ordered and get context."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from prefect_ollama.blocks.documents import Found, Hit
from prefect_ollama.blocks.errors import ClusterError, ConfigurationError, PrefectOllamaError
from prefect_ollama.blocks.lance import Mode, check_search
from prefect_ollama.blocks.resolve import limits_folder
from prefect_ollama.tasks.searching._connections import Connections
from prefect_ollama.tasks.searching.context import Around, check_around, with_context
from prefect_ollama.tasks.searching.filter import Filter
from prefect_ollama.tasks.searching.question import NOT_SEARCHED, about_question, normalised
from prefect_ollama.tasks.searching.reranker import Reranker, not_reordered

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from prefect_ollama.tasks.dispatch import Asking


def search_all(
    connections: Connections,
    questions: Sequence[str],
    asking: Asking | None,
    mode: Mode,
    limit: int,
    only: Filter,
    one_per_document: bool = False,
    around: Around = 0,
) -> list[Found]:
    """Return what each question finds; arguments and errors are those of `Corpus.search_all`.

    Args:
        connections: The table and the nodes.
        asking: Keeps bulk work of other runs from the nodes, if that is under way already.
    """
    # All arguments are checked before a node is asked.
    check_search(mode, limit)
    check_around(around)
    if isinstance(questions, str):
        raise ConfigurationError(
            "A text is given in place of a list of questions.",
            state=NOT_SEARCHED,
            remedy="Give a list, or use `search` for one question.",
        )
    # Taken once: another thread may open the table again meanwhile.
    store, reranker = connections.table(), connections.reranker
    asked = [normalised(each) for each in questions]
    where = only.condition(store.manifest)
    vectors: Sequence[NDArray[np.float32] | PrefectOllamaError | None] = [None] * len(questions)
    if mode != "text":
        vectors = _embed(connections, asked, asking)
    answers = []
    for question, text, vector in zip(questions, asked, vectors, strict=True):
        # Other questions are still answered, because a program may ask hundreds at once.
        if isinstance(vector, PrefectOllamaError):
            answers.append(Found(question=question, error=vector))
            continue
        wanted = limit if reranker is None else reranker.candidates(limit)
        hits = store.search(
            vector, text=text, limit=wanted, mode=mode, where=where, one_per_document=one_per_document
        )
        note = ""
        if reranker is not None and hits:
            hits, note = _reordered(connections, reranker, question, hits, limit)
        notes = [each for each in (_script_note(connections, text, mode), note) if each]
        answers.append(Found(with_context(store, hits, around), question=question, notes=notes))
    return answers


def _embed(
    connections: Connections, questions: Sequence[str], known: Asking | None
) -> list[NDArray[np.float32] | PrefectOllamaError | None]:
    """Embed questions. Meanwhile runs send fewer requests, if they do not yet."""
    from prefect_ollama.tasks.dispatch import Asking

    with Asking(limits_folder()) if known is None else nullcontext(known) as asking:
        embedded = connections.embedding(asking).embed(questions, kind="query")
    failures = {place: about_question(error) for place, error in embedded.failures.items()}
    return [failures.get(place, embedded.vectors[place]) for place in range(len(questions))]


def _script_note(connections: Connections, question: str, mode: Mode) -> str:
    # All scripts that a note can name have letters outside of ASCII.
    nodes = connections.nodes
    if mode == "text" or nodes is None or question.isascii():
        return ""
    from prefect_ollama.tasks.searching.nodes import question_note

    return question_note(question, nodes.cluster)


def _reordered(
    connections: Connections, reranker: Reranker, question: str, hits: Sequence[Hit], limit: int
) -> tuple[list[Hit], str]:
    from prefect_ollama.tasks.dispatch import Asking

    with Asking(limits_folder()) as asking:
        try:
            score = connections.scoring(reranker, asking)
        except ClusterError as error:
            return not_reordered(hits, limit, error)
        return reranker.reordered(question, hits, limit, score)
