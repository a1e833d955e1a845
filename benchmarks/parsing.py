"""How much of bare PyMuPDF's speed is left once every limit holds and the structure is read.

    uv run python -m benchmarks.parsing [FILE …]

One worker process for each core reads the same files in each of these ways, in turns, several times over:

    text     bare PyMuPDF: `page.get_text()` for every page
    blocks   bare PyMuPDF: `page.get_text("blocks")`, the text with a rectangle for each block
    words    bare PyMuPDF: `page.get_text("words")`, with a rectangle for each word
    dict     bare PyMuPDF: `page.get_text("dict")` without images, which also tells the type
    ours     `Parser.parse` with all its limits: text, order, headings, running heads, tables

Bare PyMuPDF runs without any limit and gives text in the order of the file. `text` and `blocks` tell neither columns
nor the cells of tables, which takes the places that `words` has, nor headings, which takes the type that `dict` has.

Printed are pages a second of all workers together by the clock, and for each second of CPU time, that of the child
processes included (medians of the rounds), with the ratio of ours to the others. Where other programs run beside
it, only the second tells the truth: ours has two processes for each core, and so gets more of a busy machine.

Without files it reads the samples that are running text, and then a manual of code and tables (`benchmarks/manual.py`).
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.manual import write_manual

SAMPLES = Path(__file__).parent.parent / "samples"
TEXTS = ("agpl-3.pdf", "measuring-the-world.pdf")
ROUNDS = 7
BARE = ("text", "blocks", "words", "dict")
SECONDS = 2.0  # of work for each worker in a round, about


def bare(kind: str) -> Callable[[list[Path]], int]:
    # As a plain user would, without the layout package, which these calls do not use.
    sys.modules["pymupdf.layout"] = None  # type: ignore[assignment]
    import pymupdf

    options = {"flags": pymupdf.TEXTFLAGS_TEXT} if kind == "dict" else {}

    def read(files: list[Path]) -> int:
        pages = 0
        for file in files:
            with pymupdf.open(file) as document:
                for page in document:
                    page.get_text(kind, **options)
                    pages += 1
        return pages

    return read


def ours() -> Callable[[list[Path]], int]:
    from prefect_ollama.tasks.parsing import Parser

    parser = Parser()
    return lambda files: sum(len(parser.parse(file).pages) for file in files)


def cpu_seconds() -> float:
    """CPU time of this process and of the children that are alive."""
    this = psutil.Process()
    times = [this.cpu_times(), *(child.cpu_times() for child in this.children())]
    return sum(each.user + each.system for each in times)


def worker(pipe: Connection, files: list[Path]) -> None:
    """Read the files in the way that is asked for, as often as asked; answer with pages and CPU seconds."""
    ways = {kind: bare(kind) for kind in BARE}
    ways["ours"] = ours()
    for read in ways.values():
        read(files)
    pipe.send("ready")
    while (order := pipe.recv()) is not None:
        way, times = order
        before = cpu_seconds()
        pages = sum(ways[way](files) for _ in range(times))
        pipe.send((pages, cpu_seconds() - before))


def main(names: list[str]) -> None:
    if names:
        compare("the files given", list(map(Path, names)))
        return
    compare("running text", [SAMPLES / name for name in TEXTS])
    with TemporaryDirectory() as folder:
        manual = Path(folder) / "manual.pdf"
        write_manual(manual)
        compare("a manual of code and tables", [manual])


def compare(what: str, files: list[Path]) -> None:
    cores = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")
    pipes, workers = [], []
    for _ in range(cores):
        here, there = context.Pipe()
        workers.append(context.Process(target=worker, args=(there, files)))
        workers[-1].start()
        pipes.append(here)
    for pipe in pipes:
        pipe.recv()

    def run(way: str, times: int) -> tuple[int, float, float]:
        started = time.perf_counter()
        for pipe in pipes:
            pipe.send((way, times))
        answers = [pipe.recv() for pipe in pipes]
        return sum(a[0] for a in answers), time.perf_counter() - started, sum(a[1] for a in answers)

    _, once, _ = run("text", 1)
    times = max(1, round(SECONDS / once))
    by_clock: dict[str, list[float]] = {way: [] for way in (*BARE, "ours")}
    by_cpu: dict[str, list[float]] = {way: [] for way in by_clock}
    pages = 0
    for _ in range(ROUNDS):
        for way in by_clock:
            pages, seconds, cpu = run(way, times)
            by_clock[way].append(pages / seconds)
            by_cpu[way].append(pages / cpu)
    for pipe in pipes:
        pipe.send(None)
    for process in workers:
        process.join()

    print(f"{what}: {cores} workers on {cores} cores, {pages} pages a round, {ROUNDS} rounds")
    print(f"{'':8}{'pages/s':>9}{'ours is':>10}{'pages/CPU-s':>15}{'ours is':>10}")
    for way in by_clock:
        line = f"{way:8}"
        for speeds, width in ((by_clock, 9), (by_cpu, 15)):
            ratio = statistics.median(a / b for a, b in zip(speeds["ours"], speeds[way], strict=True))
            line += f"{statistics.median(speeds[way]):{width}.0f}" + (
                f"{ratio:10.2f}" if way != "ours" else " " * 10
            )
        print(line.rstrip())


if __name__ == "__main__":
    main(sys.argv[1:])
