"""Monitoring of a run while it works: statistics of nodes, progress, events and metrics."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.monitoring.events import PREFIX, FailureEvents, emit, settle_nodes
    from prefect_ollama.tasks.monitoring.live_artifacts import watch_run
    from prefect_ollama.tasks.monitoring.metrics import RunMetrics
    from prefect_ollama.tasks.monitoring.metrics_endpoint import serve_metrics
    from prefect_ollama.tasks.monitoring.node_stats import NodeNow, efficiency
    from prefect_ollama.tasks.monitoring.progress import ProgressState
    from prefect_ollama.tasks.monitoring.snapshot import Snapshot, observed_by
    from prefect_ollama.tasks.monitoring.stats_topic import process_name, publishing_stats
    from prefect_ollama.tasks.monitoring.timeline import Timeline
    from prefect_ollama.tasks.monitoring.wording import rate_number, state
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
