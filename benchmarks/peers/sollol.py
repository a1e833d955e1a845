"""SOLLOL: `OllamaPool` over all nodes, with no discovery, dashboard, Redis or Dask (which it leaves unused below
10,000 texts).

- `embed_batch`: what its README shows for many texts, in a fresh pool: one text a request, equal queues, a node
  that has done four fifths of its own steals from the others.
- `embed_batch_warm`: the same after every node has answered a few texts, so that its adaptive mode has latencies
  to choose by; the clock leaves them out.
- `embed_lists`: `embed` with lists of 16, routed one by one by its intelligent router, from four threads a node.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sollol import OllamaPool

from benchmarks.peers.job import Job, Vectors, main

WARM = 8
LIST = 16


def _pool(job: Job) -> OllamaPool:
    return OllamaPool(
        nodes=job.urls,
        register_with_dashboard=False,
        enable_gpu_redis=False,
        enable_dask=False,
        enable_cache=False,
    )


def _vectors(answers: list[dict[str, Any] | None]) -> Vectors:
    return [vector for answer in answers for vector in (answer["embeddings"] if answer else [None])]


def embed_batch(job: Job) -> Callable[[], Vectors]:
    """Its batch call in a fresh pool."""
    pool = _pool(job)
    return lambda: _vectors(pool.embed_batch(job.model, job.texts))


def embed_batch_warm(job: Job) -> Callable[[], Vectors]:
    """Its batch call in a pool that knows its nodes."""
    pool = _pool(job)
    for number in range(WARM * len(job.urls)):
        pool.embed(job.model, f"warm up {number}")
    return lambda: _vectors(pool.embed_batch(job.model, job.texts))


def embed_lists(job: Job) -> Callable[[], Vectors]:
    """Its single call with lists, from threads."""
    pool = _pool(job)
    lists = [job.texts[start : start + LIST] for start in range(0, len(job.texts), LIST)]

    def embed() -> Vectors:
        with ThreadPoolExecutor(4 * len(job.urls)) as threads:
            answers = threads.map(lambda texts: pool.embed(job.model, texts), lists)
            return _vectors(list(answers))

    return embed


if __name__ == "__main__":
    main({"embed_batch": embed_batch, "embed_batch_warm": embed_batch_warm, "embed_lists": embed_lists})
