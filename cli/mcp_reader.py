"""What the tools of the MCP server read: the table, its documents, and pages as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self

from mcp.server.mcpserver import Image

from prefect_ollama.blocks.documents import Chunk, Document
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.tasks.answering import find_quote, normal
from prefect_ollama.tasks.parsing import ParseOptions, Quoted
from prefect_ollama.tasks.searching import Corpus, PageDrawer, named, open_for_search

if TYPE_CHECKING:
    from prefect_ollama.blocks.cluster import Nodes


class TableReader:
    """The table and its documents, as the tools read them.

    The table is opened at the first call, so it need not exist before. Close it, or use it as a context manager.

    Args:
        table: Where the table is.
        nodes: The nodes that embed questions and chat, as flows take them.
        reading: Limits and passwords for files whose pages are drawn.
        models: Names of models, as `Corpus` takes them.
    """

    def __init__(
        self,
        table: StoreSpec,
        nodes: Nodes | None = None,
        *,
        reading: ParseOptions | None = None,
        **models: Any,
    ) -> None:
        self._table, self._nodes, self._models = table, nodes, models
        self.reading = reading or ParseOptions()
        self._opening = Lock()
        self._corpus: Corpus | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def corpus(self) -> Corpus:
        """Return the corpus, opened once. Tools run in several threads.

        Raises:
            TableMissing: The table does not exist yet.
            TableError: It cannot be reached or read.
        """
        with self._opening:
            # At the first call, because a client starts the server before the user needs it.
            if self._corpus is None:
                self._corpus = Corpus(self._table, self._nodes, **self._models)
            return self._corpus

    def store(self) -> Store:
        """Return the present table, which may have been replaced since the last call.

        Raises:
            TableMissing: The table does not exist yet.
            TableError: It cannot be reached or read.
        """
        return open_for_search(self._table)

    def close(self) -> None:
        """Close connections, and end an embedded node."""
        with self._opening:
            if self._corpus is not None:
                self._corpus.close()


def documents_of(names: Sequence[str], rows: Sequence[Document]) -> list[Document]:
    """Return the documents that match any of these names, or all, by source and path."""
    found = [row for name in names for row in named(name, rows)] if names else rows
    # Names may overlap, such as a folder and a file in it.
    unique = {(row.source, row.path): row for row in found}
    return [unique[key] for key in sorted(unique)]


def check_page(row: Document, page: int) -> None:
    """Refuse a page that a document does not have."""
    if page > row.pages:
        raise ConfigurationError(
            f"{row.path!r} has no page {page}.", remedy=f"Its pages go from 1 to {row.pages}."
        )


def marked_page(
    row: Document, file: Path, page: int, quote: str, chunks: Sequence[Chunk], reading: ParseOptions
) -> list[Image | str]:
    """Return a page with the words of a quote marked, and a note if only its passage is."""
    check_page(row, page)
    for chunk in chunks:
        if (
            chunk.page_from <= page <= chunk.page_to
            and (place := find_quote(quote, normal(chunk.text))) is not None
        ):
            with PageDrawer(reading) as drawer:
                (drawn,) = drawer.drawn(file, [page], chunk.regions, Quoted.of(chunk.text, *place))
            picture = Image(data=drawn.png, format="png")
            return [drawn.note, picture] if drawn.note else [picture]
    raise ConfigurationError(
        f"{row.path!r} has no passage on page {page} with these words.",
        state="Nothing was drawn.",
        remedy="Give words as `ask` quotes them, and their page, or leave `quote` empty.",
    )
