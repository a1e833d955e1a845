"""What the vector cache costs, beside a plain Arrow file of the same vectors in the same run.

    uv run python -m benchmarks.cache [FOLDER]

Writes into a new folder below FOLDER (or the system's temporary folder), where 200,000 vectors take 650 MB,
and removes it again. Times are medians; CPU is that of the process.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from prefect_ollama.blocks.cache import CacheSpec, VectorCache, VectorSalt, vector_keys
from prefect_ollama.blocks.cache.index import KeyIndex
from prefect_ollama.blocks.cache.segment import new_name

DIMENSION = 768
ENTRIES = 200_000
BATCH = 512
REPEATS = 40
SALT = VectorSalt("digest", "search_document: ", DIMENSION)

Timing = tuple[float, float]


def median(calls: Sequence[Callable[[], object]]) -> Timing:
    """Wall and CPU time of a call, in ms, over calls that each do the same on other data."""
    wall, cpu = [], []
    for call in calls:
        before, busy = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - before)
        cpu.append(time.process_time() - busy)
    return 1e3 * statistics.median(wall), 1e3 * statistics.median(cpu)


def keys_of(numbers: Sequence[int]) -> list[bytes]:
    return vector_keys(SALT, [f"text {number}" for number in numbers])


def arrow_write(path: Path, vectors: np.ndarray) -> None:
    """The same vectors as an Arrow file, brought to disk in the same way."""
    values = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    batch = pa.record_batch([values], ["vector"])
    with path.open("wb") as file:
        with pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        file.flush()
        os.fsync(file.fileno())
    path.rename(path.with_suffix(".done"))
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def arrow_read(path: Path) -> np.ndarray:
    with pa.OSFile(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
    return np.asarray(table["vector"].combine_chunks().flatten()).reshape(-1, DIMENSION)


def main() -> None:
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((BATCH, DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = Table("", "wall ms", "CPU ms", "ratio of wall", "ratio of CPU")

    def row(name: str, timing: Timing, beside: Timing | None = None) -> None:
        ratios = ["", ""] if beside is None else [f"{a / b:.2f}" for a, b in zip(timing, beside, strict=True)]
        table.add_row(name, *(f"{value:.2f}" for value in timing), *ratios)

    with TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        folder = Path(name)
        cache = VectorCache(CacheSpec(str(folder / "cache")))
        batches = [keys_of(range(first, first + BATCH)) for first in range(0, ENTRIES, BATCH)]
        begun = time.perf_counter()
        for keys in batches[REPEATS:]:
            cache.put(keys, vectors)
        filled = (len(batches) - REPEATS) * BATCH / (time.perf_counter() - begun)

        calls: list[Callable[[], object]] = []
        plain: list[Callable[[], object]] = []
        for number, keys in enumerate(batches[:REPEATS]):
            calls.append(lambda keys=keys: cache.put(keys, vectors))
            plain.append(lambda number=number: arrow_write(folder / f"{number}.arrow", vectors))
        write = median(plain)
        row(f"Arrow file of {BATCH} × {DIMENSION}, written and synced", write)
        row(f"put {BATCH} into {ENTRIES:,}, synced", median(calls), write)

        read = median(
            [lambda number=number: arrow_read(folder / f"{number}.done") for number in range(REPEATS)]
        )
        row("that Arrow file read", read)
        together = [lambda keys=keys: cache.get(keys, DIMENSION) for keys in batches[-REPEATS:]]
        row(f"get {BATCH} put together", median(together), read)
        scattered = [keys_of(rng.integers(ENTRIES, size=BATCH).tolist()) for _ in range(REPEATS)]
        row(f"get {BATCH} at random", median([lambda k=k: cache.get(k, DIMENSION) for k in scattered]), read)
        absent = [keys_of(rng.integers(ENTRIES, 2**40, size=BATCH).tolist()) for _ in range(REPEATS)]
        row(f"get {BATCH} that are not there", median([lambda k=k: cache.get(k, DIMENSION) for k in absent]))
        numbers = range(BATCH)
        row(f"keys of {BATCH} short texts", median([lambda: keys_of(numbers)] * REPEATS))

        opened = median([lambda: VectorCache(cache.spec).get(batches[0], DIMENSION)] * 5)
        row(f"open {ENTRIES:,} and get {BATCH}", opened)
        stats = cache.stats()

        index = KeyIndex()
        many = [rng.integers(2**63, size=(BATCH, 2), dtype=np.uint64) for _ in range(2000)]
        begun = time.process_time()
        for each in many:
            index.add([(new_name(BATCH, DIMENSION), each)])
        added = 1e6 * (time.process_time() - begun) / len(index)
        row(
            f"find {BATCH} among {len(index):,} keys",
            median([lambda k=k: index.locate(k, DIMENSION) for k in many[::50]]),
        )

    console = Console(width=110)
    console.print(table)
    console.print(
        f"{stats.entries:,} vectors in {stats.segments} files, {stats.bytes / (4 * DIMENSION * stats.entries):.3f} "
        f"times the size of the bare floats; filled at {filled:,.0f} vectors/s, merging included.\n"
        f"Index of {len(index):,} keys: {index.nbytes / len(index):.0f} bytes and {added:.2f} µs of CPU an entry."
    )


if __name__ == "__main__":
    main()
