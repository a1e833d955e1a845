"""The tables' columns, in one place: chunks (one row a chunk), documents (the manifest), runs.

A field is nullable only where a value may truly be missing. The key of each table is marked as the
primary key: LanceDB then notices two writers that insert the same key and lets one of them try again.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa

from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance.spec import Identity
from prefect_ollama.blocks.lance.words import indexed_words
from prefect_ollama.blocks.wire.fingerprint import Fingerprint

VERSION: Final = 2
"""Of the chunk table: 1 had no column `words`. `migration` brings older tables to this one."""

VECTOR: Final = "vector"
MODEL_KEY: Final = "prefect_ollama.model"
"""Where the fingerprint and the options are: in the metadata of the field `vector`, because LanceDB changes those of a
field in place, and not those of a schema. A table of version 1 gets them from the first run that writes to it."""
_KEY: Final = b"prefect_ollama"
_PRIMARY: Final = {b"lance-schema:unenforced-primary-key": b"true"}
_UTC: Final = pa.timestamp("us", tz="UTC")

REGION: Final = pa.struct(
    [
        pa.field("page", pa.int32(), nullable=False),
        pa.field("x0", pa.float32(), nullable=False),
        pa.field("y0", pa.float32(), nullable=False),
        pa.field("x1", pa.float32(), nullable=False),
        pa.field("y1", pa.float32(), nullable=False),
    ]
)


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


def _key(name: str) -> pa.Field:
    return pa.field(name, pa.string(), nullable=False, metadata=_PRIMARY)


def model_metadata(identity: Identity) -> dict[str, str]:
    """Return the metadata of the vector field: the model's fingerprint and the options, none where it has none."""
    if identity.fingerprint is None:
        return {}
    values = {"fingerprint": identity.fingerprint.to_json(), "options": identity.options}
    return {MODEL_KEY: json.dumps(values)}


def _vector(identity: Identity) -> pa.Field:
    kind = pa.list_(pa.field("item", pa.float32()), identity.dimension)
    return pa.field(VECTOR, kind, nullable=False, metadata=model_metadata(identity) or None)


def chunk_schema(identity: Identity) -> pa.Schema:
    """Return the chunk table's schema, which carries the identity of its vectors in its metadata."""
    text = pa.string()
    return pa.schema(
        [
            _key("id"),
            _required("doc_id", text),
            _required("source", text),
            _required("path", text),
            _required("content_hash", text),
            _required("page_from", pa.int32()),
            _required("page_to", pa.int32()),
            _required("position", pa.int32()),
            _required("heading", text),
            _required("text", text),
            _required("words", text),
            _required("text_hash", text),
            _required("tokens", pa.int32()),
            _required("regions", pa.list_(pa.field("item", REGION, nullable=False))),
            _vector(identity),
            _required("model", text),
            _required("digest", text),
            _required("chunker", text),
            _required("run_id", text),
            _required("stored_at", _UTC),
        ],
        metadata={_KEY: json.dumps({"schema": VERSION, "identity": json.loads(identity.to_json())})},
    )


DOCUMENTS: Final = pa.schema(
    [
        _key("doc_id"),
        _required("source", pa.string()),
        _required("path", pa.string()),
        _required("status", pa.string()),
        _required("size", pa.int64()),
        _required("mtime_ns", pa.int64()),
        _required("content_hash", pa.string()),
        _required("kind", pa.string()),
        _required("reason", pa.string()),
        _required("remedy", pa.string()),
        _required("pages", pa.int32()),
        _required("chunks", pa.int32()),
        _required("tokens", pa.int64()),
        _required("title", pa.string()),
        _required("author", pa.string()),
        pa.field("created", _UTC),
        pa.field("modified", _UTC),
        _required("node_seconds", pa.float64()),
        _required("run_id", pa.string()),
        _required("updated_at", _UTC),
    ],
    metadata={_KEY: json.dumps({"schema": 1})},
)

RUNS: Final = pa.schema(
    [
        _key("run_id"),
        _required("kind", pa.string()),
        _required("source", pa.string()),
        _required("status", pa.string()),
        _required("started_at", _UTC),
        pa.field("ended_at", _UTC),
        _required("chunks_before", pa.int64()),
        _required("documents_before", pa.int64()),
        pa.field("chunks_after", pa.int64()),
        pa.field("documents_after", pa.int64()),
        _required("host", pa.string()),
        _required("pid", pa.int64()),
        _required("counts", pa.string()),
        _required("model", pa.string()),
    ],
    metadata={_KEY: json.dumps({"schema": 1})},
)


def words_column(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return the column `words` of chunks with these texts."""
    return pa.array([indexed_words(text) for text in texts.to_pylist()], pa.string())


def upgraded(rows: pa.Table, wanted: pa.Schema) -> pa.Table:
    """Return rows of a table, or of a version of it, that an earlier version of this project wrote, in a later schema.

    Columns that they lack are computed from the others; any other is empty (text) or 0.
    """
    if rows.schema.equals(wanted, check_metadata=True):
        return rows
    return pa.table([_column(rows, field) for field in wanted], schema=wanted)


def _column(rows: pa.Table, field: pa.Field) -> Any:
    if field.name in rows.schema.names:
        return rows[field.name].cast(field.type)
    if field.name == "words":
        return words_column(rows["text"])
    return pa.repeat(pa.scalar("" if field.type == pa.string() else 0, field.type), len(rows))


def is_ours(schema: pa.Schema) -> bool:
    """Whether a chunk table with this schema was made by this project."""
    return _KEY in (schema.metadata or {})


def stored_identity(schema: pa.Schema, table: str) -> Identity:
    """Return the identity that a chunk table's schema carries.

    Raises:
        TableError: The table is not one of this project's, or a later version wrote it.
    """
    raw = (schema.metadata or {}).get(_KEY)
    if raw is None:
        raise TableError(
            f"Table {table!r} was not made by prefect-ollama.",
            state="It was not changed.",
            remedy="Choose another name for the table.",
        )
    marked = json.loads(raw)
    if marked["schema"] > VERSION:
        raise TableError(
            f"Table {table!r} has schema version {marked['schema']}; this version of prefect-ollama knows "
            f"{VERSION} at most.",
            state="It was not changed.",
            remedy="Upgrade prefect-ollama, or choose another table.",
        )
    identity = Identity.from_json(json.dumps(marked["identity"]))
    kept = (schema.field(VECTOR).metadata or {}).get(MODEL_KEY.encode())
    if kept is None:
        return identity
    values = json.loads(kept)
    options = tuple((name, value) for name, value in values["options"])
    return replace(identity, options=options, fingerprint=Fingerprint.from_json(values["fingerprint"]))
