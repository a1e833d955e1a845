"""What the vector cache costs in CPU time, beside a plain Arrow file of the same vectors in the same run.

    uv run python -m benchmarks.cache [FOLDER]
    uv run --with lmdb python -m benchmarks.cache --stores [FOLDER]

The first command prints the figures of the cache: vectors written and read a CPU-second by one process, and by several
at once. The second one prints what led to the choice of SQLite and its journal: other stores of the same records. Both
write into a new folder below FOLDER (or the system's temporary folder), up to 1.5 GB, and remove it again.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from benchmarks import cache_stores
from prefect_ollama.blocks.cache import CacheSpec, VectorCache, VectorSalt, vector_keys

DIMENSION = 768
ENTRIES = 200_000
BATCH = 512
REPEATS = 40
PROCESSES = 4
SALT = VectorSalt("digest", "search_document: ", DIMENSION)
WANTED = {"written": 15_000, "read": 40_000}
"""Vectors a CPU-second that the cache has to reach."""

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


def some_vectors() -> np.ndarray:
    vectors = np.random.default_rng(7).standard_normal((BATCH, DIMENSION), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


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


def one_process(folder: Path, console: Console) -> None:
    rng = np.random.default_rng(8)
    vectors = some_vectors()
    table = Table("", "wall ms", "CPU ms", "vectors a CPU-s", "CPU, times Arrow's")

    def row(name: str, timing: Timing, beside: Timing | None = None, *, vectors: bool = True) -> None:
        ratio = "" if beside is None else f"{timing[1] / beside[1]:.1f}"
        rate = f"{1e3 * BATCH / timing[1]:,.0f}" if vectors else ""
        table.add_row(name, f"{timing[0]:.2f}", f"{timing[1]:.2f}", rate, ratio)

    cache = VectorCache(CacheSpec(str(folder / "cache")))
    batches = [keys_of(range(first, first + BATCH)) for first in range(0, ENTRIES, BATCH)]
    begun, busy = time.perf_counter(), time.process_time()
    for keys in batches[REPEATS:]:
        cache.put(keys, vectors)
    count = (len(batches) - REPEATS) * BATCH
    filled, filled_cpu = count / (time.perf_counter() - begun), count / (time.process_time() - busy)

    calls: list[Callable[[], object]] = []
    plain: list[Callable[[], object]] = []
    for number, keys in enumerate(batches[:REPEATS]):
        calls.append(lambda keys=keys: cache.put(keys, vectors))
        plain.append(lambda number=number: arrow_write(folder / f"{number}.arrow", vectors))
    write = median(plain)
    row(f"Arrow file of {BATCH} × {DIMENSION}, written and synced", write)
    row(f"put {BATCH} into {ENTRIES:,}, synced", median(calls), write)

    read = median([lambda number=number: arrow_read(folder / f"{number}.done") for number in range(REPEATS)])
    row("that Arrow file read", read)
    together = [lambda keys=keys: cache.get(keys, DIMENSION) for keys in batches[-REPEATS:]]
    row(f"get {BATCH} put together", median(together), read)
    scattered = [keys_of(rng.integers(ENTRIES, size=BATCH).tolist()) for _ in range(REPEATS)]
    row(f"get {BATCH} at random", median([lambda k=k: cache.get(k, DIMENSION) for k in scattered]), read)
    absent = [keys_of(rng.integers(ENTRIES, 2**40, size=BATCH).tolist()) for _ in range(REPEATS)]
    row(f"get {BATCH} that are not there", median([lambda k=k: cache.get(k, DIMENSION) for k in absent]))
    row(f"keys of {BATCH} short texts", median([lambda: keys_of(range(BATCH))] * REPEATS))
    opened = median([lambda: VectorCache(cache.spec).get(batches[0], DIMENSION)] * 5)
    row(f"open {ENTRIES:,} and get {BATCH}", opened, vectors=False)
    stats = cache.stats()
    console.print(table)
    console.print(
        f"{stats.entries:,} vectors take {stats.bytes / (4 * DIMENSION * stats.entries):.3f} times the size of the "
        f"bare floats; filled with {filled_cpu:,.0f} vectors a CPU-second ({filled:,.0f} a second)."
    )


def several_processes(folder: Path, console: Console) -> None:
    """Some at one cache at the same time: each writes vectors of its own and reads all, checked by `get`."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cache", "--worker", str(folder), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    rates: dict[str, list[float]] = {"written": [], "read": []}
    for step in rates:
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        for worker in workers:
            assert worker.stdout is not None
            rates[step].append(float(worker.stdout.readline()))
    for worker in workers:
        worker.communicate()
    for step, each in rates.items():
        console.print(
            f"{PROCESSES} processes at once: {statistics.median(each):,.0f} vectors {step} a CPU-second by each "
            f"(at least {WANTED[step]:,} are wanted)."
        )


def work(folder: str, number: int) -> None:
    cache = VectorCache(CacheSpec(folder))
    vectors = some_vectors()
    count = ENTRIES // PROCESSES // BATCH
    batches = [
        keys_of(range(n * BATCH, (n + 1) * BATCH)) for n in range(number * count, (number + 1) * count)
    ]
    everything = [
        key
        for other in range(PROCESSES * count)
        for key in keys_of(range(other * BATCH, (other + 1) * BATCH))
    ]
    choose = np.random.default_rng(number)
    sys.stdin.readline()
    busy = time.process_time()
    for keys in batches:
        cache.put(keys, vectors)
    print(count * BATCH / (time.process_time() - busy), flush=True)
    sys.stdin.readline()
    wanted = [[everything[at] for at in choose.integers(len(everything), size=BATCH)] for _ in range(count)]
    busy = time.process_time()
    for keys in wanted:
        if not cache.get(keys, DIMENSION).mask.all():
            sys.exit("a vector is missing")
    print(count * BATCH / (time.process_time() - busy), flush=True)


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--worker"]:
        work(arguments[1], int(arguments[2]))
        return
    stores = "--stores" in arguments
    places = [each for each in arguments if not each.startswith("--")]
    console = Console(width=110)
    with TemporaryDirectory(dir=places[0] if places else None) as name:
        if stores:
            console.print(cache_stores.compare(Path(name), some_vectors(), ENTRIES // 4))
            return
        one_process(Path(name), console)
        several_processes(Path(name) / "shared", console)


if __name__ == "__main__":
    main()
