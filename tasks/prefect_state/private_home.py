"""Prefect's home is closed to other users of the machine when a run begins."""

from __future__ import annotations

from prefect_ollama.blocks.errors import FolderNotPrivate
from prefect_ollama.blocks.resolve import close_home
from prefect_ollama.tasks.prefect_state.logging import run_logger


def keep_home_private() -> None:
    """Remove all rights of others on Prefect's home; if that fails, the run's log names the risk."""
    try:
        closed = close_home()
    except (FolderNotPrivate, OSError) as error:
        run_logger().warning(
            "Prefect's home cannot be closed to other users, who may be able to read blocks, logs and tables: %s",
            error,
        )
    else:
        if closed is not None:
            run_logger().info("Other users can no longer enter Prefect's home %s.", closed)
