"""What one writes first: a queue of fixed batches from which every node pulls. A yardstick, not a part.

Two texts a request and two in flight served the nodes of the first row best, of sizes from 2 to 16.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np

BATCH = 2
IN_FLIGHT = 2


async def _embed(urls: Sequence[str], texts: Sequence[str], vectors: list[Any]) -> None:
    batches = iter(range(0, len(texts), BATCH))

    async def pull(client: httpx.AsyncClient) -> None:
        for start in batches:
            asked = {"model": "nomic-embed-text", "input": texts[start : start + BATCH]}
            answer = await client.post("/api/embed", json=asked)
            vectors[start : start + BATCH] = answer.raise_for_status().json()["embeddings"]

    clients = [httpx.AsyncClient(base_url=url, timeout=None) for url in urls]
    await asyncio.gather(*(pull(client) for client in clients for _ in range(IN_FLIGHT)))
    await asyncio.gather(*(client.aclose() for client in clients))


def embed(urls: Sequence[str], texts: Sequence[str]) -> tuple[float, Any]:
    """Seconds that it takes, and the vectors in order."""
    vectors: list[Any] = [None] * len(texts)
    begun = time.perf_counter()
    asyncio.run(_embed(urls, texts, vectors))
    return time.perf_counter() - begun, np.asarray(vectors, dtype=np.float32)
