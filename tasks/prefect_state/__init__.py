"""State that Prefect keeps for us: results, assets, logs, crashed runs, roles of workers."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.prefect_state.assets import source_assets, table_asset
    from prefect_ollama.tasks.prefect_state.crashed_runs import (
        UNREPORTED,
        label_flow_run,
        settle_interrupted,
        unfinished_task_runs,
    )
    from prefect_ollama.tasks.prefect_state.logging import MARK, OUTSIDE, RunLogger, download_log, run_logger
    from prefect_ollama.tasks.prefect_state.persisted_results import PersistedResults
    from prefect_ollama.tasks.prefect_state.private_home import keep_home_private
    from prefect_ollama.tasks.prefect_state.server_client import changed_settings, quick_client
    from prefect_ollama.tasks.prefect_state.task_options import (
        KEY,
        PERSISTED,
        ROLE_MARK,
        ROLES,
        UNCACHED,
        Opaque,
        Role,
        counted_name,
        result_key,
        runs_on,
    )
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
