"""Prefect's home is closed to other users of the machine when a run begins."""

from prefect_ollama.blocks.errors import FolderNotPrivate
from prefect_ollama.blocks.private_files import OTHERS, private_folder
from prefect_ollama.blocks.setting_files import prefect_home
from prefect_ollama.tasks.prefect_state.logging import run_logger


def keep_home_private() -> None:
    """Remove all rights of others on Prefect's home; if that fails, the run's log names the risk."""
    # It has Prefect's database with all blocks, results, tables and caches.
    home = prefect_home().absolute()
    try:
        open_to_others = home.exists() and home.stat().st_mode & OTHERS
        private_folder(home)
    except (FolderNotPrivate, OSError) as error:
        run_logger().warning(
            "Prefect's home cannot be closed to other users, who may be able to read blocks, logs and tables: %s",
            error,
        )
    else:
        if open_to_others:
            run_logger().info("Other users can no longer enter Prefect's home %s.", home)
