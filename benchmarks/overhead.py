"""What the flow adds to the nodes' own time: 10,000 small documents over a cluster of 50 texts a second.

    uv run python -m benchmarks.overhead [--documents 10000]

T* is the time that the nodes need for all chunks at the sum of their rates, T that from the call of `ingest_pdfs` to
its return, with the start of workers, proofs, parsing, storing and maintenance. The overhead of all is (T - T*)/T,
and that of Prefect and Dask a part of it. Beside it stands the CPU that these two take, most of it hidden behind the
nodes' work: all that the server took in the run, and for each task run what an empty one costs flow and workers,
measured in the same run, over T and the number of cores. Takes six minutes.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.papers import pages, write_pdf
from benchmarks.stage import Meter, prefect_server

RATES = (30.0, 15.0, 5.0)
MOST = 0.05
LINES = (4, 14)
"""Lines of a document: one chunk or two."""


def task_runs(flow_run_id: str) -> int:
    """How many task runs of a flow run the server knows."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        body = {"flow_runs": {"id": {"any_": [flow_run_id]}}}
        return int(client._client.post("/task_runs/count", json=body).json())


def of_an_empty_task_run(server: int) -> float:
    """CPU seconds that a task run without work costs flow and workers."""
    from benchmarks.task_runner import run_tasks
    from prefect_ollama.flows.runner.task_runner import IngestTaskRunner

    count = 100
    cost = run_tasks.with_options(task_runner=IngestTaskRunner(2, 8))(count, server)["cost"]
    return float(cost.flow + cost.workers) / (2 * count)


def main() -> None:
    """Print the table; status 1 if it is too much."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--documents", type=int, default=10_000)
    options = arguments.parse_args()
    from prefect_ollama.blocks import LanceTable
    from prefect_ollama.flows import ingest_pdfs
    from tests.nodes import nodes

    with (
        tempfile.TemporaryDirectory() as scratch,
        prefect_server() as server,
        nodes(*({"texts_per_second": rate, "pool": 256} for rate in RATES)) as started,
    ):
        folder = Path(scratch, "papers")
        folder.mkdir()
        for number in range(options.documents):
            dice = random.Random(number)
            write_pdf(folder / f"note-{number:05}.pdf", [pages(1, dice)[0][: dice.randint(*LINES)]])
        table = LanceTable(uri=f"{scratch}/lance", table="chunks")
        own = [node._process.pid for node in started if node._process is not None]
        with Meter({"flow and workers": [os.getpid()], "server": [server], "nodes": own}) as meter:
            report = ingest_pdfs(str(folder), [node.url for node in started], table, "nomic-embed-text")
        assert report.ok, report.failed
        served = [work for node in started for work in node.stats()["busy"]]
        runs = task_runs(report.run_id)
        empty = of_an_empty_task_run(server)
    sys.exit(show(report, served, meter, runs, empty))


def show(report: Any, served: list[Any], meter: Meter, runs: int, empty: float) -> bool:
    """Print what was measured; return whether it is too much."""
    least = report.chunks / sum(RATES)
    whole = (meter.wall - least) / meter.wall
    theirs = (meter.cpu["server"] + runs * empty) / meter.wall / (os.cpu_count() or 1)
    outcome = "pass" if whole <= MOST else "FAIL"
    first, last = min(work[1] for work in served), max(work[2] for work in served)
    table = Table(
        "", "", title=f"{len(report.files):,} documents, {report.chunks:,} chunks", show_header=False
    )
    rows = {
        "T*, s": f"{least:.1f}",
        "T, s": f"{meter.wall:.1f}",
        "  from the first request (proofs) to the last answer, s": f"{last - first:.1f}",
        "overhead of everything, with theirs": f"{whole:.1%}, at most {MOST:.0%}: {outcome}",
        "task runs": f"{runs:,}",
        "CPU of the Prefect server, s": f"{meter.cpu['server']:.1f}",
        "CPU of a task run in flow and workers, ms": f"{1000 * empty:.1f}",
        "CPU of Prefect and Dask, of all cores": f"{theirs:.1%}",
        "CPU of flow and workers, parsing and storing included, s": f"{meter.cpu['flow and workers']:.1f}",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    Console(width=110).print(table)
    return whole > MOST


if __name__ == "__main__":
    main()
