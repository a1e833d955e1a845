"""A flow on Prefect's temporary server, run as a script by a test; prints the flow run's id."""

from __future__ import annotations

from prefect import flow, unmapped
from prefect.runtime import flow_run

from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from tests import dask_tasks as tasks


@flow(task_runner=IngestTaskRunner(1, 4))
def short() -> str:
    embedded = tasks.embed.map(tasks.parse.map(range(40)), scale=unmapped(2))
    assert [future.result()["value"] for future in embedded] == [2 * number for number in range(40)]
    return str(flow_run.id)


if __name__ == "__main__":
    print("flow run", short())
