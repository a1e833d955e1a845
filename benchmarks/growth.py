"""What a chunk costs and what memory a run takes, from 1,000 chunks to 200,000, through the whole flow.

    uv run python -m benchmarks.growth [--sizes 1000 10000 50000 200000]

Each size is one `ingest_pdfs` into an empty table, with all that a run does by default (cache, maintenance), by a flow
process of its own with workers of its own, over nodes that take no time to embed. They have done a small run before,
so that imports do not count. CPU is that of all threads and children, maintenance's too; ours is flow and workers.

What a run costs however small it is (its states, its plan, a process for maintenance) weighs more on 1,000 chunks than
on 200,000. So flat is said of further chunks: from one size to the next, the CPU on top over the chunks on top, which
must not be over 10 % more than between any two smaller sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.papers import write_papers
from benchmarks.stage import Meter, prefect_server

PAGES = 30
CHUNKS_A_PAGE = 7.4
FLAT = 1.10
MODEL = "nomic-embed-text"


def measure(folder: Path, warm: Path, urls: list[str], nodes: list[int], server: int) -> dict[str, Any]:
    """One run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", "--run", str(folder), str(warm), *urls]
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "PREFECT_HOME": home}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        ) as flow:
            workers = _heard(flow)
            groups = {"flow": [flow.pid], "server": [server], "nodes": nodes}
            groups |= {name: [pid] for name, pid in workers.items()}
            with Meter(groups, {"maintenance": "prefect_ollama.blocks.lance.maintenance_process"}) as meter:
                _say(flow)
                report = _heard(flow)
            _say(flow)
            assert flow.wait(60) == 0
    return {
        **report,
        "wall": meter.wall,
        "cpu": meter.cpu,
        "maintenance": meter.ended["flow"],
        "peak": dict(meter.peak),
        "ours": sum(meter.cpu[name] for name in ("flow", *workers)),
        "workers": list(workers),
    }


def _say(flow: subprocess.Popen[str]) -> None:
    assert flow.stdin is not None
    flow.stdin.write("go\n")
    flow.stdin.flush()


def _heard(flow: subprocess.Popen[str]) -> dict[str, Any]:
    assert flow.stdout is not None
    for line in flow.stdout:
        if line.startswith("{"):
            said: dict[str, Any] = json.loads(line)
            return said
    raise RuntimeError(f"the flow's process ended with {flow.wait()}")


def run(folder: str, warm: str, urls: Sequence[str]) -> None:
    """The flow's side: start workers, warm up, say so, run when told to, say what was done."""
    import distributed

    from prefect_ollama.blocks import LanceTable
    from prefect_ollama.flows import ingest_pdfs
    from prefect_ollama.flows.runner._local_cluster import WorkerCluster
    from prefect_ollama.flows.runner.task_runner import IngestTaskRunner

    parsers = os.cpu_count() or 1
    with (
        tempfile.TemporaryDirectory() as place,
        WorkerCluster(parsers, 16, env={"PREFECT_API_URL": os.environ["PREFECT_API_URL"]}) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(parsers + 1, timeout=300)
        names = {address: worker["name"] for address, worker in client.scheduler_info(-1)["workers"].items()}
        pids = {names[address]: pid for address, pid in client.run(os.getpid).items()}
        runner = IngestTaskRunner(
            address=cluster.scheduler_address, client_kwargs={"security": cluster.security}
        )
        flow = ingest_pdfs.with_options(task_runner=runner)

        def ingest(source: str, table: str) -> dict[str, Any]:
            report = flow(source, list(urls), LanceTable(uri=f"{place}/{table}", table="chunks"), MODEL)
            assert report.ok, report.failed
            return {"chunks": report.chunks, "documents": len(report.files), "seconds": report.seconds}

        ingest(warm, "warm")
        print(json.dumps(dict(sorted(pids.items()))), flush=True)
        sys.stdin.readline()
        print(json.dumps(ingest(folder, "lance")), flush=True)
        sys.stdin.readline()


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 50_000, 200_000])
    arguments.add_argument(
        "--repeat", type=int, default=3, help="runs of sizes up to 10,000; the median counts"
    )
    arguments.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.run:
        run(options.run[0], options.run[1], options.run[2:])
        return
    from tests.nodes import nodes

    with tempfile.TemporaryDirectory() as scratch, prefect_server() as server:
        place = Path(scratch)
        largest = place / "all"
        documents = {size: max(1, round(size / PAGES / CHUNKS_A_PAGE)) for size in options.sizes}
        write_papers(largest, max(documents.values()), PAGES)
        write_papers(place / "warm", 8, 4, seed=1)
        rows: list[dict[str, Any]] = []
        with nodes({"pool": 256}, {"pool": 256}) as started:
            for size in options.sizes:
                folder = place / str(size)
                folder.mkdir()
                for path in sorted(largest.iterdir())[: documents[size]]:
                    (folder / path.name).hardlink_to(path)
                runs = []
                for _ in range(options.repeat if size <= 10_000 else 1):
                    pids = [node._process.pid for node in started if node._process is not None]
                    runs.append(measure(folder, place / "warm", [node.url for node in started], pids, server))
                    for node in started:
                        node.reset()
                    print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
                runs.sort(key=lambda row: row["ours"] / row["chunks"])
                rows.append(runs[len(runs) // 2])
    sys.exit(not show(rows))


def show(rows: list[dict[str, Any]]) -> bool:
    """Print what was measured; return whether it is flat."""
    console = Console(width=140)
    workers = rows[0]["workers"]
    cost = Table(title="CPU milliseconds a chunk", title_justify="left")
    columns = ("flow", "maintenance", *workers, "ours", "with server", "nodes", "each further", "flat")
    for name in ("chunks", "documents", "s", "chunks/s", *columns):
        cost.add_column(name, justify="right")
    further: list[float] = []
    good = True
    for before, row in zip([None, *rows], rows, strict=False):
        each = {name: 1000 * seconds / row["chunks"] for name, seconds in row["cpu"].items()}
        each["maintenance"] = 1000 * row["maintenance"] / row["chunks"]
        each["flow"] -= each["maintenance"]
        ours = 1000 * row["ours"] / row["chunks"]
        last = outcome = ""
        if before is not None:
            further.append(1000 * (row["ours"] - before["ours"]) / (row["chunks"] - before["chunks"]))
            last = f"{further[-1]:.2f}"
            if len(further) > 1:
                ratio = further[-1] / min(further)
                good &= ratio <= FLAT
                outcome = f"{ratio:.2f} {'pass' if ratio <= FLAT else 'FAIL'}"
        cost.add_row(
            f"{row['chunks']:,}",
            f"{row['documents']:,}",
            f"{row['wall']:.1f}",
            f"{row['chunks'] / row['wall']:,.0f}",
            *(f"{each[name]:.2f}" for name in ("flow", "maintenance", *workers)),
            f"{ours:.2f}",
            f"{ours + each['server']:.2f}",
            f"{each['nodes']:.2f}",
            last,
            outcome,
        )
    console.print(cost)
    memory = Table(title="Peak memory of the largest process, MB", title_justify="left")
    for name in ("chunks", *columns[: 2 + len(workers)], "server", "nodes"):
        memory.add_column(name, justify="right")
    for row in rows:
        memory.add_row(
            f"{row['chunks']:,}",
            *(
                f"{row['peak'].get(name, 0) / 2**20:,.0f}"
                for name in ("flow", "maintenance", *workers, "server", "nodes")
            ),
        )
    console.print(memory)
    return good


if __name__ == "__main__":
    main()
