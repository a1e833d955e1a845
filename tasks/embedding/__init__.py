"""Vectors for texts: from the table, from the cache, or from nodes."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.embedding.start_nodes import running_nodes
    from prefect_ollama.tasks.embedding.token_counter import choose_counter
    from prefect_ollama.tasks.embedding.vector_sources import VectorSources, salt_of
    from prefect_ollama.tasks.embedding.vectors import KnownVectors
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
