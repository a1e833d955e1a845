"""The store in LanceDB: a chunk table with its vectors, the manifest of documents beside it, and the runs."""

from prefect_ollama.blocks.lance.document import (
    FAILED,
    PARTIAL,
    STALE,
    STORED,
    Document,
    EmbeddedDocument,
    Hit,
    Place,
)
from prefect_ollama.blocks.lance.rollback import Undo
from prefect_ollama.blocks.lance.rows import text_hash
from prefect_ollama.blocks.lance.runs import Run
from prefect_ollama.blocks.lance.searching import Mode
from prefect_ollama.blocks.lance.spec import Identity, StoreSpec
from prefect_ollama.blocks.lance.store import Store

__all__ = [
    "FAILED",
    "PARTIAL",
    "STALE",
    "STORED",
    "Document",
    "EmbeddedDocument",
    "Hit",
    "Identity",
    "Mode",
    "Place",
    "Run",
    "Store",
    "StoreSpec",
    "Undo",
    "text_hash",
]
