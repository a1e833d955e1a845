"""The vector cache: all runs, tables and hosts that share a cache embed each text once."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.blocks.cache._salvage import holds_cache
    from prefect_ollama.blocks.cache.cache import VectorCache, shared_cache
    from prefect_ollama.blocks.cache.records import VectorSalt, vector_keys
    from prefect_ollama.blocks.cache.spec import (
        DEFAULT_LIMIT_BYTES,
        MIN_LIMIT_BYTES,
        CacheHits,
        CacheSpec,
        CacheStats,
    )
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
