"""The columns of the three tables, each described once: its name, its type, and the source of its values.

A column is nullable only where a value may truly be missing. The key of each table is marked as its primary key:
LanceDB then notices two writers that insert the same key, and lets one of them try again.

To add a column, add it here, raise `schema.VERSION` (or the manifest's), and store a table of the version before with
`python -m tests.test_store_schema`. Rows that lack it get the value that
`schema.upgraded` derives, or the empty one of its type.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prefect_ollama.blocks.documents import Chunk, EmbeddedDocument, Identity
from prefect_ollama.blocks.lance._words import indexed_words

# Name of the column of vectors. Its metadata has the fingerprint of the model.
VECTOR: Final = "vector"
TEXT: Final = pa.string()
# Microseconds are the precision of Python's `datetime`.
UTC: Final = pa.timestamp("us", tz="UTC")
# A rectangle on a page in points. float32 is exact enough for places on a page, and halves the size.
REGION: Final = pa.struct(
    [
        pa.field("page", pa.int32(), nullable=False),
        *(pa.field(edge, pa.float32(), nullable=False) for edge in ("x0", "y0", "x1", "y1")),
    ]
)
REGIONS: Final = pa.list_(pa.field("item", REGION, nullable=False))
# LanceDB's mark of a primary key. LanceDB does not enforce unique keys, but detects two inserts of one key.
_PRIMARY: Final = {b"lance-schema:unenforced-primary-key": b"true"}


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents on their way into the chunk table, checked (`arrow.chunk_table`).

    `sizes` says how many chunks each document has. All chunks, their ids, the hashes of their texts, and their vectors
    (float32, shape (chunks, dimension)) have one order.
    """

    documents: Sequence[EmbeddedDocument]
    sizes: Sequence[int]
    chunks: Sequence[Chunk]
    ids: Sequence[str]
    hashes: Sequence[str]
    vectors: NDArray[np.float32]
    identity: Identity


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: Its name.
        kind: Its type; None for the vector, whose type depends on the table's dimension.
        fill: Its values for a batch of documents, of this type; None if rows are dataclasses with such a field.
        key: Whether it is the table's key.
        nullable: Whether a value may be missing.
    """

    name: str
    kind: pa.DataType | None
    fill: Callable[[Batch], Any] | None = None
    key: bool = False
    nullable: bool = False

    @property
    def field(self) -> pa.Field:
        """The column in a schema."""
        return pa.field(self.name, self.kind, nullable=self.nullable, metadata=_PRIMARY if self.key else None)


def array(values: Sequence[Any], kind: pa.DataType = TEXT) -> pa.Array:
    """Return a column of this type."""
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        # Python holds a file name that is not UTF-8 with lone surrogates, which Arrow does not take.
        return pa.array([each.encode("utf-8", "backslashreplace").decode() for each in values], kind)


def empty(kind: pa.DataType) -> Any:
    """Return the value that means "no value" in a column of this type."""
    if pa.types.is_list(kind):
        return []
    return "" if kind == TEXT else 0


def vectors(matrix: NDArray[np.float32]) -> pa.Array:
    """Return a column of vectors, from shape (rows, dimension)."""
    kind = pa.list_(pa.field("item", pa.float32()), matrix.shape[1])
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), type=kind)


def _words(batch: Batch) -> pa.Array:
    """Return the words of the shown text, then those that only the embedded text has: company names, years, a title."""
    texts = array([chunk.text for chunk in batch.chunks]).to_pylist()
    embedded = array([chunk.embedded_text for chunk in batch.chunks]).to_pylist()
    return pa.array(list(map(_words_of_chunk, texts, embedded)), TEXT)


def _words_of_chunk(text: str, embedded_text: str) -> str:
    words = indexed_words(text)
    more = indexed_words(embedded_text.removesuffix(text))
    if not more:
        return words
    known = set(words.split(" "))
    return " ".join([words, *(word for word in dict.fromkeys(more.split(" ")) if word not in known)])


def _chunk(name: str, kind: pa.DataType = TEXT) -> Column:
    """Return the column of a value of each chunk."""
    get = attrgetter(name)
    return Column(name, kind, lambda batch: array([get(each) for each in batch.chunks], kind))


def _document(name: str, kind: pa.DataType = TEXT, *, attribute: str = "") -> Column:
    """Return the column of a value of each document, which is repeated for its chunks."""
    get = attrgetter(attribute or name)
    return Column(
        name,
        kind,
        lambda batch: _repeated(array([get(each.document) for each in batch.documents], kind), batch),
    )


def _repeated(values: pa.Array, batch: Batch) -> pa.Array:
    """Repeat the value of each document for its chunks."""
    return values.take(pa.array(np.repeat(np.arange(len(values)), batch.sizes)))


def _identity(name: str) -> Column:
    get = attrgetter(name)
    return Column(
        name, TEXT, lambda batch: pa.repeat(pa.scalar(get(batch.identity), TEXT), len(batch.chunks))
    )


def _chunker(batch: Batch) -> pa.Array:
    """Return version and options of the chunker, for people. Documents from another chunker have no version."""
    options = batch.identity.chunker
    values = [
        f"v{each.document.chunker_version} {options}" if each.document.chunker_version else options
        for each in batch.documents
    ]
    return _repeated(pa.array(values, TEXT), batch)


def _regions(batch: Batch) -> pa.Array:
    offsets = np.zeros(len(batch.chunks) + 1, np.int32)
    np.cumsum([len(chunk.regions) for chunk in batch.chunks], out=offsets[1:])
    regions = [region for chunk in batch.chunks for region in chunk.regions]
    # Written out, because reading attributes by their names takes four times as long.
    columns = [
        [each.page for each in regions],
        [each.x0 for each in regions],
        [each.y0 for each in regions],
        [each.x1 for each in regions],
        [each.y1 for each in regions],
    ]
    values = pa.StructArray.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, REGION, strict=True)],
        fields=list(REGION),
    )
    return pa.ListArray.from_arrays(pa.array(offsets), values, type=REGIONS)


# One row is a chunk; the values are those of `Chunk`, `Document` and `Identity`.
CHUNKS: Final = (
    Column("id", TEXT, lambda batch: pa.array(batch.ids, TEXT), key=True),
    _document("doc_id"),
    _document("source"),
    _document("path"),
    _document("title"),
    _document("content_hash"),
    _chunk("page_from", pa.int32()),
    _chunk("page_to", pa.int32()),
    _chunk("page_label_from"),
    _chunk("page_label_to"),
    _chunk("position", pa.int32()),
    _chunk("heading"),
    _chunk("text"),
    _chunk("embedded_text"),
    Column("words", TEXT, _words),
    Column("text_hash", TEXT, lambda batch: pa.array(batch.hashes, TEXT)),
    _chunk("tokens", pa.int32()),
    Column("regions", REGIONS, _regions),
    Column(VECTOR, None, lambda batch: vectors(batch.vectors)),
    _identity("model"),
    _identity("digest"),
    Column("chunker", TEXT, _chunker),
    _document("run_id"),
    _document("stored_at", UTC, attribute="updated_at"),
)

# One row is a document; the values are those of `Document`.
DOCUMENTS: Final = (
    Column("doc_id", TEXT, key=True),
    Column("source", TEXT),
    Column("path", TEXT),
    Column("status", TEXT),
    Column("size", pa.int64()),
    Column("mtime_ns", pa.int64()),
    Column("content_hash", TEXT),
    Column("kind", TEXT),
    Column("reason", TEXT),
    Column("remedy", TEXT),
    Column("pages", pa.int32()),
    Column("chunks", pa.int32()),
    Column("tokens", pa.int64()),
    Column("title", TEXT),
    Column("author", TEXT),
    Column("created", UTC, nullable=True),
    Column("modified", UTC, nullable=True),
    Column("node_seconds", pa.float64()),
    Column("parser_version", pa.int32()),
    Column("chunker_version", pa.int32()),
    Column("run_id", TEXT),
    Column("updated_at", UTC),
)

# One row is a run; the values are those of `Run`.
RUNS: Final = (
    Column("run_id", TEXT, key=True),
    Column("kind", TEXT),
    Column("source", TEXT),
    Column("status", TEXT),
    Column("started_at", UTC),
    Column("ended_at", UTC, nullable=True),
    Column("chunks_before", pa.int64()),
    Column("documents_before", pa.int64()),
    Column("chunks_after", pa.int64(), nullable=True),
    Column("documents_after", pa.int64(), nullable=True),
    Column("host", TEXT),
    Column("pid", pa.int64()),
    Column("counts", TEXT),
    Column("model", TEXT),
)
