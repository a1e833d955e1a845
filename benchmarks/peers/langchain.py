"""LangChain: `OllamaEmbeddings.embed_documents`, which knows one base URL and sends all texts in one request.

- `fastest`: the fastest node alone.
- `split`: equal parts over all nodes, in a thread each, as a user without a dispatcher would do it.
"""

from __future__ import annotations

from collections.abc import Callable

from langchain_ollama import OllamaEmbeddings

from benchmarks.peers.job import Job, Vectors, equal_parts, main


def fastest(job: Job) -> Callable[[], Vectors]:
    """The fastest node alone."""
    client = OllamaEmbeddings(model=job.model, base_url=job.urls[job.fastest])
    return lambda: client.embed_documents(job.texts)


def split(job: Job) -> Callable[[], Vectors]:
    """Equal parts over all nodes."""
    clients = {url: OllamaEmbeddings(model=job.model, base_url=url) for url in job.urls}
    return lambda: equal_parts(job, lambda url, texts: clients[url].embed_documents(texts))


if __name__ == "__main__":
    main({"fastest": fastest, "split": split})
