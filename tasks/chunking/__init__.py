"""Cutting documents into chunks that hold together: by structure, in the model's tokens, stable under edits.

Needs no Prefect.
"""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.chunking._sentences import sentences
    from prefect_ollama.tasks.chunking.chunker import CHUNKER_VERSION, chunk_document, renumbered, split_chunk
    from prefect_ollama.tasks.chunking.options import ChunkOptions
    from prefect_ollama.tasks.chunking.tokens import (
        TokenRates,
        at_least,
        estimate_tokens,
        gauge_texts,
        measured_rates,
    )
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
