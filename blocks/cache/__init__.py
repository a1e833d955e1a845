"""The vector cache: a text that was embedded once is not embedded again, by whatever run, table or host."""

from prefect_ollama.blocks.cache.cache import VectorCache, shared_cache
from prefect_ollama.blocks.cache.keys import VectorSalt, vector_keys
from prefect_ollama.blocks.cache.spec import CacheSpec, CacheStats, Found

__all__ = ["CacheSpec", "CacheStats", "Found", "VectorCache", "VectorSalt", "shared_cache", "vector_keys"]
