"""A process that writes sample documents: `python -m tests.store_writer URI RUN CONTENT ROUNDS DOCUMENTS`.

STORE_GUARDED=0 in its environment lets it do without the lock among writers of one host.
It says `ready` once the table is open, waits for a line, says `round N` after each write and `ended` last.
Every round writes all its documents in two batches; odd rounds of content `mixed` change some of them.
"""

from __future__ import annotations

import os
import sys

from prefect_ollama.blocks.documents import EmbeddedDocument
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.lance._write_lock import WriteLock
from tests.store_samples import IDENTITY, embedded, sentences


def corpus(content: str, round_: int, count: int) -> list[EmbeddedDocument]:
    """Return the documents that one round writes; the last round of any number leaves the same rows."""
    documents = []
    for number in range(count):
        changed = content == "mixed" and round_ % 2 == 1 and number % 3 == 0
        size = 2 + (number * 7 + 5 * changed) % 11
        texts = sentences(f"{number}{' changed' * changed}", size)
        if content not in ("mixed", "same"):
            texts = [f"{content}: {text}" for text in texts[: 2 + hash_of(content) % size]]
        documents.append(embedded(f"{number}.pdf", texts, content=f"{content}{int(changed)}"))
    return documents


def hash_of(text: str) -> int:
    return sum(map(ord, text))


def main() -> None:
    if os.environ.get("STORE_GUARDED") == "0":
        WriteLock._take = lambda self: None  # type: ignore[method-assign]
    uri, run_id, content, rounds, count = sys.argv[1:]
    store = Store.open(StoreSpec(uri), identity=IDENTITY, create=True)
    print("ready", flush=True)
    sys.stdin.readline()
    store.begin_run(run_id, "papers")
    for round_ in range(int(rounds)):
        documents = corpus(content, round_, int(count))
        half = len(documents) // 2
        store.write(documents[:half])
        store.write(documents[half:])
        print(f"round {round_}", flush=True)
    store.end_run()
    print("ended", flush=True)


if __name__ == "__main__":
    main()
