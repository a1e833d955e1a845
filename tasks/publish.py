"""Publish a run that changed a table: as a materialisation of the table's asset, and as an event.

Guarantees: runs that changed nothing are not published, and neither are runs over a staging table, which has no readers
yet.
"""

from collections.abc import Sequence
from typing import Any

from prefect.assets import Asset, add_asset_metadata, materialize

from prefect_ollama.blocks.documents import Run
from prefect_ollama.blocks.lance import Store
from prefect_ollama.tasks.monitoring import PREFIX, emit
from prefect_ollama.tasks.prefect_state import UNCACHED, table_asset


def publish_run(store: Store, run: Run, sources: Sequence[Asset] = ()) -> None:
    """Publish a run that ended.

    Args:
        sources: The sources of its documents.
    """
    # Automations should not start for a run that changed nothing, or for a table without readers.
    if run.chunks_after in (None, run.chunks_before) or store.spec.is_staging:
        return
    stats = store.stats()
    about: dict[str, Any] = {
        "run": run.run_id,
        "kind": run.kind,
        "status": run.status,
        "source": run.source,
        "version": run.chunks_after,
        "rows": stats.chunks,
        "documents": sum(stats.documents.values()),
        "model": store.identity.model,
        "digest": store.identity.digest,
        "dimension": store.identity.dimension,
        **run.counts,
    }
    asset = table_asset(store.spec)
    # Made here and not as a decorator, because the key of the asset is known only now.
    publish = materialize(
        asset,
        by=PREFIX,
        name="publish",
        task_run_name="publish version {about[version]}",
        asset_deps=list(sources),
        **UNCACHED,
    )(_publish)
    publish(asset.key, about)
    emit(
        "run.published", run.run_id, label=f"{run.kind} {run.source}".strip(), table=str(store.spec), **about
    )


def _publish(asset: str, about: dict[str, Any]) -> None:
    add_asset_metadata(asset, about)
