"""LlamaIndex: `OllamaEmbedding.aget_text_embedding_batch`, which knows one base URL.

Requests of 64 texts, four at a time (`num_workers`), so that no small default holds it back. It strips texts of
the white space around them before it embeds them.

- `fastest`: the fastest node alone.
- `split`: equal parts over all nodes, in a thread each, as a user without a dispatcher would do it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from llama_index.embeddings.ollama import OllamaEmbedding

from benchmarks.peers.job import Job, Vectors, equal_parts, main

BATCH = 64
WORKERS = 4


def _client(job: Job, url: str) -> OllamaEmbedding:
    return OllamaEmbedding(model_name=job.model, base_url=url, embed_batch_size=BATCH, num_workers=WORKERS)


def fastest(job: Job) -> Callable[[], Vectors]:
    """The fastest node alone."""
    client = _client(job, job.urls[job.fastest])
    return lambda: asyncio.run(client.aget_text_embedding_batch(job.texts))


def split(job: Job) -> Callable[[], Vectors]:
    """Equal parts over all nodes."""
    clients = {url: _client(job, url) for url in job.urls}

    def embed(url: str, texts: list[str]) -> Vectors:
        return asyncio.run(clients[url].aget_text_embedding_batch(texts))

    return lambda: equal_parts(job, embed)


if __name__ == "__main__":
    main({"fastest": fastest, "split": split})
