"""Maintenance of a table as a task."""

from datetime import timedelta

from prefect import task
from prefect.runtime import task_run

from prefect_ollama.blocks.lance import Maintenance, MaintenanceProcess, StoreSpec, maintain
from prefect_ollama.blocks.printable import printable
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque, run_logger


def _name() -> str:
    store: StoreSpec = task_run.parameters["store"].content
    return printable(f"maintain {store.table}", longest=200)


@task(name="maintain table", task_run_name=_name, **UNCACHED)
def maintain_store(
    store: Opaque[StoreSpec],
    maintenance_process: Opaque[MaintenanceProcess] | None = None,
    *,
    force: bool,
    keep_days: float,
    memory_mb: int,
) -> Maintenance:
    """Run the maintenance that is due, or all of it.

    Args:
        maintenance_process: The process that does it, if one was started ahead.
        force: Run all maintenance, even if it is not due.
        keep_days: Days to keep old versions.
        memory_mb: Maximum memory in MiB.

    Raises:
        TableError: It needed more memory or time than its limit, or the table cannot be written.
    """
    done = maintain(
        store.content,
        force=force,
        keep=timedelta(days=keep_days),
        memory=memory_mb * 2**20,
        maintenance_process=maintenance_process.content if maintenance_process is not None else None,
    )
    logger = run_logger()
    for step in done.done:
        logger.info("%s", step)
    if done.left_over_files:
        logger.info("Deleted %s that killed writers left", quantity(done.left_over_files, "file"))
    return done
