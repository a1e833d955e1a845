"""What a task run costs beside its work: our task runner and Dask's stock one, in one run.

Ours comes twice, with TLS between Dask processes, as it always has it, and without, which only this benchmark does.

Both map `--count` empty parse tasks and as many embed tasks chained to them, on two processes that parse or do
both, against a Prefect server of this benchmark's own in a folder that goes away. Prints CPU milliseconds a task
run in the flow's process, in the workers and in the server, and wall seconds.

    uv run python benchmarks/task_runner.py
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import psutil
from distributed.security import Security
from prefect import flow, task, unmapped
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import refresh_global_settings_context
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.runtime import flow_run
from prefect.server.api.server import SubprocessASGIServer
from prefect_dask.task_runners import DaskTaskRunner
from rich.console import Console
from rich.table import Table

from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from prefect_ollama.tasks.prefect_state.task_options import runs_on

WARM_UP = 20

SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "DASK_LOGGING__DISTRIBUTED": "warning",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
}


@task
@runs_on("parse")
def parse(number: int) -> int:
    return number


@task
@runs_on("embed")
def embed(number: int, scale: int) -> int:
    return number * scale


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds used so far."""

    flow: float
    workers: float
    server: float

    @classmethod
    def now(cls, server: int) -> Cost:
        times = {
            process.pid: sum(process.cpu_times()[:2]) for process in psutil.Process().children(recursive=True)
        }
        return cls(time.process_time(), sum(times.values()) - times[server], times[server])

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.flow - other.flow, self.workers - other.workers, self.server - other.server)


@flow
def run_tasks(count: int, server: int) -> dict[str, Any]:
    begin = time.perf_counter()
    parse.submit(0).wait()
    started = time.perf_counter() - begin
    _chain(WARM_UP)
    _recorded(2 * WARM_UP + 1)
    before, begin = Cost.now(server), time.perf_counter()
    _chain(count)
    wall = time.perf_counter() - begin
    _recorded(2 * (WARM_UP + count) + 1)
    return {"cost": Cost.now(server) - before, "wall": wall, "started": started, "end": time.perf_counter()}


def _chain(count: int) -> None:
    embedded = embed.map(parse.map(range(count)), scale=unmapped(2))
    assert [future.result() for future in embedded] == [2 * number for number in range(count)]


def _recorded(count: int) -> None:
    """Wait until the server has written all task runs, so that their cost is not counted elsewhere."""
    this = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))
    deadline = time.monotonic() + 120
    with get_client(sync_client=True) as client:
        while True:
            body = {
                "flow_runs": this.model_dump(mode="json"),
                "task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
            }
            if client._client.post("/task_runs/count", json=body).json() >= count:
                return
            if time.monotonic() > deadline:
                raise TimeoutError("the server did not record all task runs")
            time.sleep(0.5)


def measure(name: str, runner: DaskTaskRunner, count: int, server: int) -> tuple[str, ...]:
    """Run the tasks on a runner; return its row of the table."""
    found = run_tasks.with_options(task_runner=runner)(count, server)
    stop = time.perf_counter() - found["end"]
    cost: Cost = found["cost"]
    each = [1000 * part / (2 * count) for part in (cost.flow, cost.workers, cost.server)]
    rate = 2 * count / found["wall"]
    milliseconds = [f"{part:.1f}" for part in (*each, sum(each))]
    return (name, *milliseconds, f"{found['started']:.1f}", f"{rate:.0f}", f"{stop:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=100, help="parse tasks, and as many embed tasks")
    parser.add_argument(
        "--only", choices=["ours", "ours without TLS", "stock"], help="measure one runner alone"
    )
    options = parser.parse_args()
    runners = {
        "ours": IngestTaskRunner(2, 8),
        "ours without TLS": IngestTaskRunner(2, 8, cluster_kwargs={"security": Security()}),
        "stock": DaskTaskRunner(
            cluster_kwargs={"n_workers": 2, "threads_per_worker": 4, "dashboard_address": None}
        ),
    }
    table = Table(title=f"{2 * options.count} task runs, CPU milliseconds for each", title_justify="left")
    for column in ("runner", "flow", "workers", "server", "together", "start s", "task runs/s", "stop s"):
        table.add_column(column, justify="left" if column == "runner" else "right")
    for logger in ("prefect", "prefect.flow_runs", "distributed"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as home:
        os.environ.update(SETTINGS, PREFECT_HOME=home, PREFECT_PROFILES_PATH=f"{home}/profiles.toml")
        refresh_global_settings_context()
        server = SubprocessASGIServer()
        server.start()
        try:
            os.environ["PREFECT_API_URL"] = server.api_url
            refresh_global_settings_context()
            assert server.server_process is not None
            for name, runner in runners.items():
                if options.only in (None, name):
                    table.add_row(*measure(name, runner, options.count, server.server_process.pid))
            APILogWorker.drain_all()
            EventsWorker.drain_all()
        finally:
            server.stop()
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
