"""Clean up after failed and killed runs of a table, before the next run reads it."""

import socket

from prefect import task

from prefect_ollama.blocks.documents import RUN_DONE, RUN_ROLLED_BACK, RUN_RUNNING, Run
from prefect_ollama.blocks.lance import Store, alive
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque, run_logger, settle_interrupted

# Kind of the run, in the table's log, that cleans up after others.
KIND = "recover"


def needs_recovery(store: Store) -> bool:
    """Return whether the last run failed, or the process of a run was killed, so that documents may be incomplete."""
    log = store.runs()
    return bool(log) and (
        log[-1].status not in (RUN_DONE, RUN_ROLLED_BACK, RUN_RUNNING) or any(map(_abandoned, log))
    )


@task(name="recover", task_run_name="recover from the last run", **UNCACHED)
def recover_store(store: Opaque[Store], run_id: str) -> None:
    """Mark documents that may be incomplete as stale, so that they are read again, and end runs without a process.

    Args:
        run_id: Name of this run in the table's log.
    """
    table = store.content
    # A run of its own, so that the table's log shows what it marked.
    table.begin_run(run_id, "", kind=KIND)
    stale = table.reconcile()
    table.end_run(counts={"stale": len(stale)})
    settle_interrupted(table.runs())
    run_logger().info(
        "The last run failed or was killed; %s that may be incomplete will be read again",
        quantity(len(stale), "document"),
    )


def _abandoned(run: Run) -> bool:
    here = socket.gethostname()
    return run.status == RUN_RUNNING and not alive(run.host, run.pid, here, run.started_at)
