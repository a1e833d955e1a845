"""Reading a store: searches, the manifest, the runs. Reading needs no right to write.

Every call sees the latest commit. The table may be replaced by one with new vectors while it is open here
(`Store.swap_in`); a search then says so instead of comparing vectors that cannot be compared.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prefect_ollama.blocks.documents import Chunk, Document, Hit, Identity, Run
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import _schema as schema
from prefect_ollama.blocks.lance._chunks import Chunks
from prefect_ollama.blocks.lance._damage import explained, failure
from prefect_ollama.blocks.lance._fresh_rows import FreshRows
from prefect_ollama.blocks.lance._fresh_scores import Fresh
from prefect_ollama.blocks.lance._manifest import Manifest
from prefect_ollama.blocks.lance._runs import RunLog
from prefect_ollama.blocks.lance._search import Mode, Search
from prefect_ollama.blocks.lance.commits import files_of
from prefect_ollama.blocks.lance.filters import both, equals
from prefect_ollama.blocks.lance.opening import connect, missing_table, open_table, open_tables
from prefect_ollama.blocks.lance.spec import StoreSpec
from prefect_ollama.blocks.nodes import Fingerprint, compare
from prefect_ollama.blocks.secrets import safe_cause


@dataclass(frozen=True, slots=True)
class Stats:
    """Statistics of a store.

    Attributes:
        chunks: Rows of the chunk table.
        documents: Rows of the manifest by status.
        data_bytes: Size of the chunk table's files and indices, without old versions.
    """

    chunks: int
    documents: Mapping[str, int]
    data_bytes: int


class Reader:
    """The three tables of a store, open for reading.

    Attributes:
        spec: Its address.
        identity: The identity of its vectors.

    Raises:
        TableMissing: The table does not exist.
        TableDamaged: A part of it is lost or cannot be read.
        TableError: It cannot be reached, or was not made by this project.
    """

    def __init__(self, spec: StoreSpec) -> None:
        tables = open_tables(spec)
        if tables is None:
            raise missing_table(spec)
        chunks, documents, runs = tables
        self.spec = spec
        self.identity: Identity = schema.stored_identity(chunks.schema, spec.table)
        self._chunks = Chunks(spec, chunks)
        self._manifest = Manifest(spec, documents)
        self._log = RunLog(runs)
        self._fixed = connect(spec, fixed=True)
        self._fresh = FreshRows()

    def manifest(self, source: str | None = None) -> list[Document]:
        """Return the documents, of one source or of all."""
        with self._explained():
            return self._manifest.documents(source)

    def vectors_for(self, doc_ids: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors of these documents' chunks, by the hash of their text (`text_hash`).

        With them a changed document is stored again and only its changed chunks are embedded.
        """
        with self._explained():
            return self._chunks.vectors_of(list(doc_ids))

    def sample(self, count: int) -> list[tuple[str, NDArray[np.float32]]]:
        """Return the text and the vector, shape (dimension,), of some chunks; an empty list for an empty table.

        Up to half of them have letters or marks that are not ASCII, if there are such.
        """
        with self._explained():
            return self._chunks.sample(count)

    def texts(self) -> Iterator[list[str]]:
        """Yield the texts of all chunks, some thousands at a time."""
        with self._explained():
            yield from self._chunks.texts()

    def search(
        self,
        vector: NDArray[np.float32] | None = None,
        *,
        text: str = "",
        limit: int = 5,
        mode: Mode = "vector",
        source: str | None = None,
        where: str = "",
        one_per_document: bool = False,
    ) -> list[Hit]:
        """Return the chunks that answer best, the best first.

        Args:
            vector: The question's vector, shape (dimension,).
            text: The question's words, for the modes `text` and `hybrid`.
            limit: Maximum number of them.
            mode: `vector` (cosine), `text` (BM25) or `hybrid` (both, fused by their scores).
            source: Only documents of this source.
            where: Only rows that this SQL filter lets through; build it with `filters`.
            one_per_document: Whether only the best chunk of each document is returned.

        Raises:
            ConfigurationError: The mode lacks its vector or its words.
            TableError: The table cannot answer, for example because the filter is wrong, or it was replaced
                by one of other vectors since it was opened.
        """
        table = self._snapshot()
        condition = both("" if source is None else equals("source", source), where)
        fresh = self._fresh_of(table)
        asked = Search(table, vector, text, limit, mode, condition, one_per_document, fresh)
        try:
            return asked.hits()
        except (RuntimeError, ValueError, OSError) as error:
            raise failure(
                "The search failed",
                error,
                self.spec,
                state="The table was not changed.",
                remedy="If a filter was given, check its SQL.",
            ) from safe_cause(error)

    def chunks_of(self, doc_id: str) -> list[Chunk]:
        """Return the chunks of a document in reading order; an empty list if it is not stored."""
        with self._explained():
            return self._chunks.chunks_of(doc_id)

    def stats(self) -> Stats:
        """Return the statistics of the tables, read without texts or vectors."""
        with self._explained():
            # Grouped by Arrow, so that a large manifest makes no Python objects.
            statuses = self._manifest.table.search().select(["status"]).to_arrow()
            counted = statuses.group_by("status").aggregate([([], "count_all")]).to_pylist()
            return Stats(
                chunks=int(self._chunks.table.count_rows()),
                documents={row["status"]: row["count_all"] for row in counted},
                data_bytes=files_of(self._chunks.table).data_bytes,
            )

    @property
    def version(self) -> str:
        """Name of what the tables hold now. Another commit has another one, also after the table was made again."""
        with self._explained():
            runs = self._log.all()
            last = runs[-1].run_id if runs else ""
            return f"{self.spec} {self._chunks.version} {self._manifest.version} {last}"

    def runs(self) -> list[Run]:
        """Return all runs, the oldest first."""
        with self._explained():
            return self._log.all()

    def _explained(self) -> AbstractContextManager[None]:
        return explained(self.spec, f"Table {self.spec.table!r} cannot be read")

    @property
    def replaced(self) -> bool:
        """Whether the table was replaced by one of other vectors since it was opened here."""
        with self._explained():
            return schema.stored_identity(self._chunks.schema, self.spec.table) != self.identity

    def _snapshot(self) -> Any:
        """Return the chunk table, fixed at its latest version.

        The connection keeps what it has read of the indices, so this costs 0.3 ms. Several threads may ask.
        """
        with self._explained():
            table = open_table(self._fixed, self.spec, self.spec.table)
        if table is None:
            raise missing_table(self.spec)
        self._refuse_swapped(table.schema)
        return table

    def _fresh_of(self, table: Any) -> Fresh | None:
        with self._explained():
            return self._fresh.of(table)

    def _refuse_swapped(self, found_in: pa.Schema | None = None) -> None:
        found = schema.stored_identity(found_in or self._chunks.schema, self.spec.table)
        if found != self.identity:
            raise TableError(
                f"Table {self.spec.table!r} was replaced by a table of other vectors since it was opened here: "
                f"{listed(self.identity.differences(found))}.",
                state="The table was not changed.",
                remedy="Open it again, and embed questions and documents with the new table's model and options.",
            )


def listed(differing: dict[str, tuple[object, object]]) -> str:
    """Return differences between two identities as text."""
    return "; ".join(_difference(name, old, new) for name, (old, new) in differing.items())


def _difference(name: str, old: object, new: object) -> str:
    if isinstance(old, Fingerprint) and isinstance(new, Fingerprint):
        result = compare(new, old)
        return (
            f"the nodes give other vectors ({result.likeness}): {result.cause or 'the table was built again'}"
        )
    return f"{name} was {old!r}, is {new!r}"
