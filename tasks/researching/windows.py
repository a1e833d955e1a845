"""The passages of documents in reading order, cut into windows that a chat model can read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from prefect_ollama.blocks.documents import Chunk, Document, Hit
from prefect_ollama.blocks.lance import Store, chunk_ids, text_hash
from prefect_ollama.blocks.nodes import ChatModelSpec
from prefect_ollama.tasks.answering import fitting

# Passages of a window at most: a model leaves out more of a longer text, and fewer windows keep fewer nodes busy.
WINDOW_PASSAGES: Final = 24


@dataclass(frozen=True, slots=True)
class Window:
    """Passages that are read together.

    Attributes:
        passages: The passages, in reading order.
        turn: How many windows of its first document come before it.
    """

    passages: tuple[Hit, ...]
    turn: int

    @property
    def title(self) -> str:
        """Documents and pages."""
        first, last = self.passages[0], self.passages[-1]
        if first.doc_id != last.doc_id:
            return f"{first.path}, page {first.page_from} – {last.path}, page {last.page_to}"
        if first.page_from == last.page_to:
            return f"{first.path}, page {first.page_from}"
        return f"{first.path}, pages {first.page_from}-{last.page_to}"


def passages_of(
    store: Store, documents: Iterable[Document], pages: tuple[int, int] | None
) -> list[tuple[Hit, ...]]:
    """Return the passages of documents, each document's in reading order; documents without any are left out.

    Args:
        pages: First and last page, counted from 1; a passage has to stand on one of them at least. None for all.
    """
    found = []
    for document in sorted(documents, key=lambda each: (each.source, each.path)):
        chunks = store.chunks_of(document.doc_id)
        ids = chunk_ids(document.doc_id, [text_hash(chunk.text) for chunk in chunks])
        # A passage that crosses the first or last page is read whole.
        hits = tuple(
            _hit(document, chunk, chunk_id)
            for chunk, chunk_id in zip(chunks, ids, strict=True)
            if pages is None or (chunk.page_to >= pages[0] and chunk.page_from <= pages[1])
        )
        if hits:
            found.append(hits)
    return found


def windows_of(
    documents: Sequence[Sequence[Hit]], task: str, model: ChatModelSpec, answer_tokens: int
) -> list[Window]:
    """Return all passages in windows that fit into a model's context, in reading order.

    Short documents share a window; no window holds the end of one document and the beginning of a longer one.

    Args:
        documents: The passages of each document, in reading order.
        model: The model, with its real context.
        answer_tokens: Tokens that are kept for the answer.
    """

    def fit(hits: Sequence[Hit]) -> int:
        return len(fitting(task, hits[:WINDOW_PASSAGES], model, answer_tokens))

    windows: list[Window] = []
    shared: list[Hit] = []
    for hits in documents:
        # Many short documents in windows of their own would be as many drafts, each with two rounds of checks.
        if shared and fit([*shared, *hits]) == len(shared) + len(hits):
            shared += hits
            continue
        if shared:
            windows.append(Window(tuple(shared), 0))
            shared = []
        # A long document is cut by what fits, and its last window is not filled up with the next document.
        rest, turn = list(hits), 0
        while (size := fit(rest)) < len(rest):
            windows.append(Window(tuple(rest[:size]), turn))
            rest, turn = rest[size:], turn + 1
        if turn:
            windows.append(Window(tuple(rest), turn))
        else:
            shared = rest
    if shared:
        windows.append(Window(tuple(shared), 0))
    return windows


def _hit(document: Document, chunk: Chunk, chunk_id: str) -> Hit:
    return Hit(
        chunk.text,
        document.path,
        document.source,
        chunk.page_from,
        chunk.page_to,
        chunk.heading,
        0.0,  # no search was made, so there is no score
        document.doc_id,
        chunk_id,
        chunk.position,
        chunk.regions,
        document.title,
        chunk.page_label_from,
        chunk.page_label_to,
    )
