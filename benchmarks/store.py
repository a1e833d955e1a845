"""What the store costs: rows a second by the size of a commit, growth to 200,000 rows, reads and maintenance.

    uv run python -m benchmarks.store [--rows 200000] [--folder FOLDER]

Documents of 50 chunks of 1 KB, vectors of 384 and 768 floats. Next to `Store.write`, bare LanceDB writes the
same rows, made ready before the clock starts, in the same run. The table takes 1.3 GB on disk with its old
versions and is removed again. CPU is that of the whole process, all threads.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.table import Table

from prefect_ollama.blocks.documents import Document, EmbeddedDocument, Identity
from prefect_ollama.blocks.documents.chunk import Chunk, Region
from prefect_ollama.blocks.lance import Store, StoreSpec, maintain
from prefect_ollama.blocks.lance.arrow import chunk_table, stamped
from prefect_ollama.blocks.lance.maintenance import due

CHUNKS = 50
WORDS = [f"word{number}" for number in range(5_000)]
console = Console()


@dataclass
class Clock:
    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def timed() -> Iterator[Clock]:
    clock = Clock()
    wall, cpu = time.perf_counter(), time.process_time()
    yield clock
    clock.wall, clock.cpu = time.perf_counter() - wall, time.process_time() - cpu


def memory_mb() -> float:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
    except OSError:
        return float("nan")


def documents(first: int, rows: int, dimension: int) -> list[EmbeddedDocument]:
    """Return documents that together have so many rows; each number gives the same document again."""
    made = []
    for number in range(first, first + max(1, rows // CHUNKS)):
        dice = np.random.default_rng(number)
        count = min(CHUNKS, rows)
        picked = dice.integers(len(WORDS), size=(count, 120))
        chunks = [
            Chunk(
                " ".join(WORDS[each] for each in picked[place]),
                place,
                place // 3 + 1,
                place // 3 + 2,
                "Part > Section",
                (Region(place // 3 + 1, 72, 72, 523, 300), Region(place // 3 + 2, 72, 72, 523, 150)),
                200,
            )
            for place in range(count)
        ]
        vectors = dice.standard_normal((count, dimension), dtype=np.float32)
        made.append(
            EmbeddedDocument(
                Document(f"{number:032x}", "bench", f"folder/{number}.pdf", content_hash=f"{number:064x}"),
                chunks,
                vectors,
            )
        )
    return made


def new_store(folder: Path, dimension: int) -> Store:
    identity = Identity("bench", "sha256:0", dimension, chunker="1")
    store = Store.open(StoreSpec(str(folder)), identity=identity, create=True)
    store.begin_run("bench", "bench")
    return store


def by_commit_size(folder: Path) -> None:
    table = Table(
        "floats", "rows a commit", "rows/s", "rows per CPU-second", "bare merge/CPU-s", "bare add/CPU-s"
    )
    for dimension in (384, 768):
        for rows in (100, 1_000, 10_000):
            rounds = 5 if rows == 10_000 else 10
            batches = [documents(number * rows, rows, dimension) for number in range(rounds + 1)]
            store = new_store(folder / f"{dimension}-{rows}", dimension)
            figures: dict[str, list[Clock]] = {"store": [], "merge": [], "add": []}
            bare = {
                name: Store.open(
                    StoreSpec(str(folder / f"{dimension}-{rows}-{name}")),
                    identity=store.identity,
                    create=True,
                )._chunks.table
                for name in ("merge", "add")
            }
            for batch in batches:
                with timed() as clock:
                    store.write(batch)
                figures["store"].append(clock)
                ready = chunk_table(
                    [stamped(each, "bench", datetime.now(UTC)) for each in batch],
                    store.identity,
                    bare["add"].schema,
                )
                with timed() as clock:
                    bare["merge"].merge_insert(
                        "id"
                    ).when_matched_update_all().when_not_matched_insert_all().use_index(False).execute(ready)
                figures["merge"].append(clock)
                with timed() as clock:
                    bare["add"].add(ready)
                figures["add"].append(clock)
            wall = statistics.median(each.wall for each in figures["store"][1:])
            cpu = {
                name: statistics.median(each.cpu for each in clocks[1:]) for name, clocks in figures.items()
            }
            table.add_row(
                str(dimension),
                f"{rows:,}",
                f"{rows / wall:,.0f}",
                *(f"{rows / cpu[name]:,.0f}" for name in cpu),
            )
    console.print(table)


def growth(folder: Path, total: int, dimension: int = 768) -> Store:
    store = new_store(folder, dimension)
    table = Table("rows in the table", "CPU µs a row", "wall µs a row", "memory MB")
    marks = [each for each in (10_000, 50_000, 100_000, 200_000) if each < total] + [total]
    rows, clocks = 0, []
    store.write(documents(0, 1_000, dimension))
    rows = 1_000
    while rows < total:
        batch = documents(rows, 10_000, dimension)
        with timed() as clock:
            store.write(batch)
        clocks.append(clock)
        rows += 10_000
        if rows >= marks[0]:
            last = clocks[-3:]
            table.add_row(
                f"{rows:,}",
                f"{statistics.median(each.cpu for each in last) * 100:.1f}",
                f"{statistics.median(each.wall for each in last) * 100:.1f}",
                f"{memory_mb():,.0f}",
            )
            marks.pop(0)
    console.print(table)
    return store


def median_ms(action: Callable[[], object], times: int = 5) -> str:
    clocks = []
    for _ in range(times):
        with timed() as clock:
            action()
        clocks.append(clock.wall)
    return f"{statistics.median(clocks) * 1000:,.1f}"


def reads(store: Store, title: str) -> None:
    question = np.random.default_rng(1).standard_normal(store.identity.dimension, dtype=np.float32)
    words = " ".join(WORDS[7:10])
    batch = [
        replace(each, chunks=each.chunks[:-1], vectors=each.vectors[:-1]) for each in documents(0, 1_000, 768)
    ]
    ids = [each.document.doc_id for each in batch]
    table = Table(title, "ms")
    table.add_row("search by vector", median_ms(lambda: store.search(question, limit=10)))
    table.add_row("search by words", median_ms(lambda: store.search(text=words, limit=10, mode="text")))
    table.add_row(
        "hybrid search", median_ms(lambda: store.search(question, text=words, limit=10, mode="hybrid"))
    )
    table.add_row(f"manifest of {len(store.manifest()):,} documents", median_ms(store.manifest))
    table.add_row("vectors of 20 documents", median_ms(lambda: store.vectors_for(ids)))
    table.add_row("20 documents replaced, each a chunk shorter", median_ms(lambda: store.write(batch), 3))
    table.add_row("reconcile", median_ms(store.reconcile, 3))
    table.add_row("asking whether maintenance is due", median_ms(lambda: due(store.spec)))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=200_000, help="rows to grow to")
    parser.add_argument(
        "--folder", type=Path, default=None, help="where to write; the system's temporary folder"
    )
    given = parser.parse_args()
    with TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        by_commit_size(folder)
        store = growth(folder / "growth", given.rows)
        reads(store, f"{store.stats().chunks:,} rows, no maintenance yet")
        report = maintain(store.spec)
        console.print(f"maintenance: {report.seconds:.1f} s, {report.peak_bytes / 2**20:,.0f} MB at most")
        for line in report.done:
            console.print(f"  {line}")
        reads(store, f"{store.stats().chunks:,} rows, after maintenance")


if __name__ == "__main__":
    main()
