"""Wait for the answers of several nodes, and not much longer for slow ones than for the first one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from prefect_ollama.blocks.errors import NodeError, NodeUnreachable
from prefect_ollama.blocks.nodes.loop_lag import LoopLag

T = TypeVar("T")

# Seconds that a run waits for slower nodes to answer at all, after the first one has answered.
GRACE_S = 2.0

# It waits SLOW_START_FACTOR times as long as the first node took, if that is longer, but at most MAX_GRACE_FACTOR
# times as long.
SLOW_START_FACTOR = 3.0
MAX_GRACE_FACTOR = 4.0


async def gather_by_node(
    work: Mapping[str, Coroutine[Any, Any, T]], left_out: dict[str, NodeError], *, grace: float | None
) -> dict[str, T]:
    """Return the results by node name, in the order of `work`.

    Failures, and nodes without a result in time, are added to `left_out`. A result is in time until `grace` seconds
    after the first success; None waits for all. The wait is longer if the first success took long. Time in which our
    own event loop did not run does not count, because on a busy machine every node seems slow.
    """
    tasks = {asyncio.ensure_future(coroutine): name for name, coroutine in work.items()}
    done: dict[str, T] = {}
    pending = set(tasks)
    limit: float | None = None
    loop = asyncio.get_running_loop()
    began = first = loop.time()
    with LoopLag() as lag:
        while pending:
            waited = loop.time() - first - lag.since(first)
            left = math.inf if limit is None else limit - waited
            timeout = None if limit is None else left if left > 0.001 else 0.0
            finished, pending = await asyncio.wait(
                pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            for task in finished:
                try:
                    done[tasks[task]] = task.result()
                except NodeError as error:
                    left_out[tasks[task]] = error
            if done and grace is not None and limit is None:
                first = loop.time()
                limit = max(grace, min(SLOW_START_FACTOR * (first - began), MAX_GRACE_FACTOR * grace))
            if not finished and limit is not None and timeout == 0.0:
                for task in pending:
                    task.cancel()
                    left_out[tasks[task]] = NodeUnreachable(
                        f"was not ready {limit:.0f} s after the first node was.",
                        node=tasks[task],
                        silent=True,
                        remedy="It joins when it is.",
                    )
                await asyncio.gather(*pending, return_exceptions=True)
                break
    # Nodes answer in any order; who decides among equals must not depend on it.
    return {name: done[name] for name in work if name in done}
