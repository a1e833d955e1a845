"""How long a question takes in a table of 100,000 or a million passages, and how many of the nearest it finds.

    uv run python -m benchmarks.search [--rows 100000] [--questions 200] [--folder FOLDER]

Vectors have 768 floats: 500 centres in 48 dimensions, turned into 768, with noise; questions are drawn alike. Texts
have 110 words of 20,000, drawn by Zipf's law; a question has six. Embedding the question is not part of it. Recall is
the share of the ten nearest by exact search. Then the same while another process writes a commit of 4,096 passages
every ten seconds. With `--folder` the table is kept, and used again by the next call. The last column is the CPU time
of a question, which other programs affect less.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.table import Table

from prefect_ollama.blocks.child_processes import end_with_parent, start_tied
from prefect_ollama.blocks.documents import Document, EmbeddedDocument, Identity
from prefect_ollama.blocks.documents.chunk import Chunk, Region
from prefect_ollama.blocks.lance import Store, StoreSpec, maintain

DIMENSION, MEANING, CENTRES, CHUNKS = 768, 48, 500, 50
COMMIT, EVERY_S = 4_096, 10.0
WORDS = np.array([f"word{number}" for number in range(20_000)])
console = Console()


class Passages:
    """Draws documents and questions; the same seed draws the same."""

    def __init__(self) -> None:
        dice = np.random.default_rng(0)
        self._turn = (dice.standard_normal((MEANING, DIMENSION)) / np.sqrt(MEANING)).astype(np.float32)
        self._centres = dice.standard_normal((CENTRES, MEANING)).astype(np.float32)
        chances = 1 / np.arange(1, len(WORDS) + 1)
        self._chances = chances / chances.sum()

    def vectors(self, dice: np.random.Generator, count: int) -> np.ndarray:
        around = self._centres[dice.integers(CENTRES, size=count)]
        meaning = around + 0.8 * dice.standard_normal((count, MEANING), dtype=np.float32)
        found = meaning @ self._turn + 0.3 * dice.standard_normal((count, DIMENSION), dtype=np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def texts(self, dice: np.random.Generator, count: int, words: int) -> list[str]:
        return [" ".join(row) for row in dice.choice(WORDS, size=(count, words), p=self._chances)]

    def documents(self, first: int, rows: int) -> list[EmbeddedDocument]:
        dice = np.random.default_rng(first + 1)
        vectors, texts = self.vectors(dice, rows), self.texts(dice, rows, 110)
        made = []
        for start in range(0, rows, CHUNKS):
            chunks = [
                Chunk(
                    text,
                    place,
                    place // 3 + 1,
                    place // 3 + 1,
                    "Part > Section",
                    region(first + start + place),
                    200,
                )
                for place, text in enumerate(texts[start : start + CHUNKS])
            ]
            number = first + start
            document = Document(
                f"{number:032x}", "bench", f"folder/{number}.pdf", content_hash=f"{number:064x}"
            )
            made.append(EmbeddedDocument(document, chunks, vectors[start : start + CHUNKS]))
        return made


def region(number: int) -> tuple[Region, ...]:
    """Return a rectangle that few other passages have."""
    top = 72.0 + number * 7.3 % 600
    return (Region(number % CHUNKS // 3 + 1, 72, top, 523, top + 60 + number % 40),)


def built(folder: Path, rows: int) -> Store:
    store = Store.open(
        StoreSpec(str(folder)), identity=Identity("bench", "sha256:0", DIMENSION, chunker="1"), create=True
    )
    if store.stats().chunks < rows:
        store.begin_run("bench", "bench")
        for first in range(0, rows, 10_000):
            store.write(Passages().documents(first, min(10_000, rows - first)))
        store.end_run()
    for line in maintain(store.spec, memory=8 * 2**30).done:
        console.print(f"maintenance: {line}", highlight=False)
    return store


def write_on(folder: Path) -> None:
    """Write commits until the process is ended, as a run does."""
    end_with_parent()
    store = Store.open(StoreSpec(str(folder)))
    first = 100_000_000 + int(time.time()) * 10_000
    store.begin_run(f"writer {first}", "bench")
    while True:
        store.write(Passages().documents(first, COMMIT))
        first += COMMIT
        print(first, flush=True)
        time.sleep(EVERY_S)


def milliseconds(ask: Callable[[int], object], count: int) -> tuple[list[float], float]:
    """Return the time of each question, ascending, and the mean CPU time."""
    taken, cpu = [], time.process_time()
    for number in range(count):
        began = time.perf_counter()
        ask(number)
        taken.append((time.perf_counter() - began) * 1000)
    return sorted(taken), (time.process_time() - cpu) / count * 1000


def row(name: str, taken: Sequence[float], cpu: float, recall: str = "") -> tuple[str, ...]:
    p50, p95 = (taken[min(len(taken) - 1, int(len(taken) * share))] for share in (0.5, 0.95))
    return name, f"{p50:.1f}", f"{p95:.1f}", recall, f"{cpu:.1f}"


def recall_of(store: Store, questions: np.ndarray) -> float:
    table, found = store._snapshot(), 0
    for question in questions:
        query = table.search(question).distance_type("cosine").bypass_vector_index()
        exact = set(query.select(["id", "_distance"]).limit(10).to_arrow()["id"].to_pylist())
        found += len(exact & {hit.chunk_id for hit in store.search(question, limit=10)})
    return found / 10 / len(questions)


def measured(store: Store, count: int, title: str, *, recall: bool) -> None:
    dice, passages = np.random.default_rng(99), Passages()
    vectors, texts = passages.vectors(dice, count), passages.texts(dice, count, 6)
    asks: dict[str, Callable[[int], object]] = {
        "vector": lambda n: store.search(vectors[n], limit=10),
        "text": lambda n: store.search(text=texts[n], limit=10, mode="text"),
        "hybrid": lambda n: store.search(vectors[n], text=texts[n], limit=10, mode="hybrid"),
    }
    table = Table(title, "p50 ms", "p95 ms", "recall@10", "CPU ms")
    for name, ask in asks.items():
        milliseconds(ask, 5)
        shown = f"{recall_of(store, vectors[:50]):.3f}" if recall and name == "vector" else ""
        table.add_row(*row(name, *milliseconds(ask, count), shown))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000, help="passages in the table")
    parser.add_argument("--questions", type=int, default=200, help="questions of each mode")
    parser.add_argument("--folder", type=Path, default=None, help="where the table is kept")
    parser.add_argument("--write", type=Path, default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write is not None:
        write_on(given.write)
    with TemporaryDirectory() as name:
        folder = (given.folder or Path(name)).absolute()
        store = built(folder, given.rows)
        measured(store, given.questions, f"{store.stats().chunks:,} passages", recall=True)
        # It ends with this process, however that ends: left alone it would write on for ever.
        writer = start_tied(
            [sys.executable, "-m", "benchmarks.search", "--write", str(folder)], stdout=subprocess.PIPE
        )
        try:
            assert writer.stdout is not None
            writer.stdout.readline()
            measured(store, given.questions, "while a run writes", recall=False)
        finally:
            writer.kill()
            writer.wait()


if __name__ == "__main__":
    main()
