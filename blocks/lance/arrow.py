"""Convert documents to Arrow columns and back. Incomplete documents are refused.

Columns are built from lists of values and not from rows of dicts, and vectors are copied only once, from the documents'
matrices into one for the batch.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from hashlib import blake2b
from itertools import groupby

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prefect_ollama.blocks.documents import IN_TABLE, Document, EmbeddedDocument, Identity
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import _columns as columns
from prefect_ollama.blocks.lance._schema import DOCUMENTS
from prefect_ollama.blocks.quantity import quantity

# The state in errors of this module.
UNCHANGED = "Nothing of this batch was written."


def text_hash(text: str) -> str:
    """Return the hash by which equal texts are recognised: 128 bits of BLAKE2b, in hex."""
    # Texts of files may have lone surrogates, which plain UTF-8 refuses.
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def chunk_ids(doc_id: str, hashes: Sequence[str]) -> list[str]:
    """Return the ids of a document's chunks, from their text hashes in order of position.

    An id depends on the document, the text, and how often the text came before in the document. So an edit elsewhere in
    the document does not change it.
    """
    seen: Counter[str] = Counter()
    ids = []
    for each in hashes:
        ids.append(blake2b(f"{doc_id}\n{each}\n{seen[each]}".encode(), digest_size=16).hexdigest())
        seen[each] += 1
    return ids


def chunk_table(documents: Sequence[EmbeddedDocument], identity: Identity, schema: pa.Schema) -> pa.Table:
    """Return the chunk rows of these documents, checked.

    Raises:
        TableError: A document comes twice, does not have one valid vector for each chunk, or its chunks are not
            numbered from 0 without gaps.
    """
    vectors = _matrix(documents, identity)
    chunks = [chunk for each in documents for chunk in each.chunks]
    sizes = [len(each.chunks) for each in documents]
    hashes = [text_hash(chunk.text) for chunk in chunks]
    ids: list[str] = []
    for each, size in zip(documents, sizes, strict=True):
        ids += chunk_ids(each.document.doc_id, hashes[len(ids) : len(ids) + size])
    batch = columns.Batch(documents, sizes, chunks, ids, hashes, vectors, identity)
    filled = {each.name: each.fill(batch) for each in columns.CHUNKS if each.fill is not None}
    return pa.table([filled[name] for name in schema.names], schema=schema)


def tombstones(ids: pa.Array, schema: pa.Schema) -> pa.Table:
    """Return rows that empty the rows with these ids: no document, no text, and a vector that no search returns."""
    count = len(ids)
    values = []
    for field in schema:
        if field.name == "id":
            values.append(ids)
        elif field.name == columns.VECTOR:
            values.append(columns.vectors(np.zeros((count, field.type.list_size), np.float32)))
        else:
            values.append(pa.array([columns.empty(field.type)] * count, field.type))
    return pa.table(values, schema=schema)


def readdressed(rows: pa.Table, moved: Mapping[str, Document]) -> pa.Table:
    """Return chunk rows with the ids, paths and titles of other documents; the vectors stay.

    Args:
        rows: Rows of whole documents, document by document in order of position.
        moved: The document that gets the rows, by their old `doc_id`.
    """
    olds = rows["doc_id"].to_pylist()
    hashes = rows["text_hash"].to_pylist()
    # Rows of one document are adjacent, as `groupby` needs them.
    places = [list(places) for _, places in groupby(range(len(olds)), key=olds.__getitem__)]
    ids = [
        chunk_id
        for each in places
        for chunk_id in chunk_ids(moved[olds[each[0]]].doc_id, hashes[each[0] : each[-1] + 1])
    ]
    changed = {"id": ids}
    for name in ("doc_id", "source", "path", "title", "run_id"):
        changed[name] = [getattr(moved[old], name) for old in olds]
    for name, values in changed.items():
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(name), columns.array(values))
    return rows


def counted(documents: Iterable[Document], rows: pa.Table) -> list[Document]:
    """Return documents with the numbers of chunks and tokens that chunk rows have for them."""
    sums = rows.group_by("doc_id").aggregate([([], "count_all"), ("tokens", "sum")]).to_pylist()
    held = {row["doc_id"]: (row["count_all"], row["tokens_sum"]) for row in sums}
    found = ((each, *held.get(each.doc_id, (0, 0))) for each in documents)
    return [replace(each, chunks=chunks, tokens=tokens) for each, chunks, tokens in found]


def document_table(documents: Sequence[Document]) -> pa.Table:
    """Return manifest rows.

    Raises:
        TableError: A document comes twice.
    """
    _refuse_repeated(documents)
    filled = [
        columns.array([getattr(each, field.name) for each in documents], field.type) for field in DOCUMENTS
    ]
    return pa.table(filled, schema=DOCUMENTS)


def documents_from(table: pa.Table) -> list[Document]:
    """Return the documents of manifest rows."""
    names = [field.name for field in fields(Document)]
    return [Document(*values) for values in zip(*(table[name].to_pylist() for name in names), strict=True)]


def stamped(each: EmbeddedDocument, run_id: str, now: datetime) -> EmbeddedDocument:
    """Return the document with its numbers of chunks and tokens, the run and the time."""
    document = replace(
        each.document,
        chunks=len(each.chunks),
        tokens=sum(chunk.tokens for chunk in each.chunks),
        run_id=run_id or each.document.run_id,
        updated_at=now,
    )
    return replace(each, document=document)


def _matrix(documents: Sequence[EmbeddedDocument], identity: Identity) -> NDArray[np.float32]:
    _refuse_repeated([each.document for each in documents])
    for each in documents:
        document, shape = each.document, each.vectors.shape
        if document.status not in IN_TABLE:
            raise TableError(
                f"{document.path!r} has chunks, but its status is {document.status!r}.",
                state=UNCHANGED,
                remedy="Record documents without chunks with `record`.",
            )
        if shape != (len(each.chunks), identity.dimension) or each.vectors.dtype != np.float32:
            raise TableError(
                f"{document.path!r} has {quantity(len(each.chunks), 'chunk')}, and vectors of shape {shape} and type "
                f"{each.vectors.dtype}; expected ({len(each.chunks)}, {identity.dimension}) and float32.",
                state=UNCHANGED,
                remedy="Embed the document again.",
            )
        if any(chunk.position != place for place, chunk in enumerate(each.chunks)):
            raise TableError(
                f"The chunks of {document.path!r} are not numbered from 0 without gaps.",
                state=UNCHANGED,
                remedy="Give all chunks of a document at once, in order.",
            )
    parts = [each.vectors for each in documents if len(each.chunks)]
    if not parts:
        return np.empty((0, identity.dimension), np.float32)
    vectors = np.ascontiguousarray(parts[0]) if len(parts) == 1 else np.concatenate(parts)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", vectors, vectors)
    # A vector that overflows in float32 is broken, too.
    bad = np.flatnonzero(~(np.isfinite(squares) & (squares > 0)))
    if bad.size:
        places = [(each.document, place) for each in documents for place in range(len(each.chunks))]
        document, place = places[int(bad[0])]
        raise TableError(
            f"{quantity(bad.size, 'vector is', 'vectors are')} zero or not finite; the first is chunk {place} of "
            f"{document.path!r}.",
            state=UNCHANGED,
            remedy="Embed these documents again; if it happens again, the node that made them is broken.",
        )
    return vectors


def _refuse_repeated(documents: Sequence[Document]) -> None:
    repeated = [key for key, count in Counter(each.doc_id for each in documents).items() if count > 1]
    if repeated:
        path = next(each.path for each in documents if each.doc_id == repeated[0])
        raise TableError(
            f"{quantity(len(repeated), 'document comes', 'documents come')} twice in one batch; the first is {path!r}.",
            state=UNCHANGED,
            remedy="Give each document once.",
        )
