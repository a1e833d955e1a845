"""The schemas of the three tables. Their metadata holds the schema version, and the identity of the vectors."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa

from prefect_ollama.blocks.documents import Identity
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import _columns as columns
from prefect_ollama.blocks.lance._columns import VECTOR
from prefect_ollama.blocks.lance._words import indexed_words
from prefect_ollama.blocks.nodes import Fingerprint

# Of the chunk table: 1 had no column `words`; 2 no titles, page labels and embedded texts. `migration` brings
# older tables to this one.
VERSION: Final = 3

# Of the manifest: 1 did not have the versions of parser and chunker.
DOCUMENTS_VERSION: Final = 2

# Of the log of runs, which at first had no column `model`.
RUNS_VERSION: Final = 1

# Key of the fingerprint and the options in the metadata of the field `vector`. LanceDB can change the metadata of a
# field in place, but not those of a schema. A table of version 1 gets them from the first run that writes to it.
MODEL_KEY: Final = "prefect_ollama.model"

# Key of schema version and identity in the metadata of a schema.
_KEY: Final = b"prefect_ollama"


def model_metadata(identity: Identity) -> dict[str, str]:
    """Return the metadata of the vector field: the model's fingerprint and the options; empty without a fingerprint."""
    if identity.fingerprint is None:
        return {}
    values = {"fingerprint": identity.fingerprint.to_json(), "options": identity.options}
    return {MODEL_KEY: json.dumps(values)}


def _vector(identity: Identity) -> pa.Field:
    kind = pa.list_(pa.field("item", pa.float32()), identity.dimension)
    return pa.field(VECTOR, kind, nullable=False, metadata=model_metadata(identity) or None)


def chunk_schema(identity: Identity) -> pa.Schema:
    """Return the chunk table's schema, which carries the identity of its vectors in its metadata."""
    return pa.schema(
        [_vector(identity) if each.kind is None else each.field for each in columns.CHUNKS],
        metadata={_KEY: json.dumps({"schema": VERSION, "identity": json.loads(identity.to_json())})},
    )


# The schema of the manifest.
DOCUMENTS: Final = pa.schema(
    [each.field for each in columns.DOCUMENTS], metadata={_KEY: json.dumps({"schema": DOCUMENTS_VERSION})}
)

# The schema of the log of runs.
RUNS: Final = pa.schema(
    [each.field for each in columns.RUNS], metadata={_KEY: json.dumps({"schema": RUNS_VERSION})}
)


def upgraded(rows: pa.Table, wanted: pa.Schema, titles: Mapping[str, str] | None = None) -> pa.Table:
    """Return rows that an earlier version of this project wrote in a later schema.

    Rows of chunks without a title get that of their document, by `doc_id`.
    """
    if rows.schema.equals(wanted, check_metadata=True):
        return rows
    return pa.table([_column(rows, field, titles or {}) for field in wanted], schema=wanted)


def _column(rows: pa.Table, field: pa.Field, titles: Mapping[str, str]) -> Any:
    if field.name in rows.schema.names:
        return rows[field.name].cast(field.type)
    if field.name == "words":
        return pa.array([indexed_words(text) for text in rows["text"].to_pylist()], field.type)
    if field.name == "title":
        return pa.array([titles.get(doc_id, "") for doc_id in rows["doc_id"].to_pylist()], field.type)
    return pa.repeat(pa.scalar(columns.empty(field.type), field.type), len(rows))


def is_ours(schema: pa.Schema) -> bool:
    """Return whether this project made a chunk table with this schema."""
    return _KEY in (schema.metadata or {})


def refuse_newer(schema: pa.Schema, known: int, table: str) -> None:
    """Raise a `TableError` if a later version of this project wrote a table."""
    raw = (schema.metadata or {}).get(_KEY)
    found = json.loads(raw)["schema"] if raw is not None else 0
    if found > known:
        raise TableError(
            f"Table {table!r} has schema version {found}; this version of prefect-ollama knows {known} at most.",
            state="It was not changed.",
            remedy="Upgrade prefect-ollama, or choose another table.",
        )


def stored_identity(schema: pa.Schema, table: str) -> Identity:
    """Return the identity that a chunk table's schema carries.

    `TableError` if the table is not one of this project's, or a later version wrote it.
    """
    raw = (schema.metadata or {}).get(_KEY)
    if raw is None:
        raise TableError(
            f"Table {table!r} was not made by prefect-ollama.",
            state="It was not changed.",
            remedy="Choose another name for the table.",
        )
    refuse_newer(schema, VERSION, table)
    marked = json.loads(raw)
    identity = Identity.from_json(json.dumps(marked["identity"]))
    kept = (schema.field(VECTOR).metadata or {}).get(MODEL_KEY.encode())
    if kept is None:
        return identity
    values = json.loads(kept)
    options = tuple((name, value) for name, value in values["options"])
    return replace(identity, options=options, fingerprint=Fingerprint.from_json(values["fingerprint"]))
