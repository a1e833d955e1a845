"""The task runner of the flows: Dask workers on this machine, or of an existing cluster."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.flows.runner.futures import IngestFuture
    from prefect_ollama.flows.runner.server_watch import wait_for_server
    from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
