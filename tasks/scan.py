"""Look at the source and the manifest, and plan the run."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from prefect_ollama.blocks.lance import Store
from prefect_ollama.tasks.parcel import Parcel
from prefect_ollama.tasks.planning import Plan, find_files, make_plan


@task(name="plan", cache_policy=NO_CACHE, persist_result=False)
def plan_source(
    source: str | Sequence[str],
    store: Parcel[Store | None],
    *,
    remove_missing: bool,
    allow_empty: bool,
    retry_failed: bool,
) -> Parcel[Plan]:
    """Find the source's files and decide what to do with each. Reads files only to tell renamed from new.

    Raises:
        ConfigurationError: The source is not there, or all of its documents would be removed.
    """
    found = find_files(source)
    manifest = store.content.manifest(found.name) if store.content is not None else []
    plan = make_plan(
        found, manifest, remove_missing=remove_missing, allow_empty=allow_empty, retry_failed=retry_failed
    )
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in plan.counts().items() if count)
    get_run_logger().info("Plan for %s: %s", found.name, counts or "nothing there")
    return Parcel(plan)
