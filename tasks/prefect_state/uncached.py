"""Options of tasks whose results Prefect does not keep."""

from __future__ import annotations

from typing import Any, Final

from prefect.cache_policies import NO_CACHE

# Prefect's own policy would hash all arguments for a key, and these hold open tables and connections. What such a task
# returns is either quick to get again, or out of date in the next run.
UNCACHED: Final[dict[str, Any]] = {"cache_policy": NO_CACHE, "persist_result": False}
