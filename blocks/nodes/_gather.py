"""Wait for the answers of several nodes, and not much longer for slow ones than for the first one."""

import asyncio
import math
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from prefect_ollama.blocks.errors import NodeError, NodeUnreachable
from prefect_ollama.blocks.nodes.loop_lag import timeout_while_running

T = TypeVar("T")

# Seconds that a run waits for slower nodes to answer at all, after the first one has answered.
GRACE_S = 2.0

# A run waits SLOW_START_FACTOR times as long as the first node took, if that is longer, but at most MAX_GRACE_FACTOR
# times the grace time.
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
    tasks = {name: asyncio.ensure_future(coroutine) for name, coroutine in work.items()}
    pending = set(tasks.values())
    limit: float | None = None
    loop = asyncio.get_running_loop()
    began = loop.time()
    with suppress(TimeoutError):
        async with timeout_while_running(math.inf) as restart:
            while pending:
                finished, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                succeeded = any(task.exception() is None for task in finished)
                if succeeded and grace is not None and limit is None:
                    took = loop.time() - began
                    limit = max(grace, min(SLOW_START_FACTOR * took, MAX_GRACE_FACTOR * grace))
                    restart(limit)
    done: dict[str, T] = {}
    # Not in the order in which they answered, because who decides among equals must not depend on it.
    for name, task in tasks.items():
        if not task.done():
            task.cancel()
            left_out[name] = NodeUnreachable(
                f"was not ready {limit:.0f} s after the first node was.",
                node=name,
                silent=True,
                remedy="It joins when it is ready.",
            )
            continue
        try:
            done[name] = task.result()
        except NodeError as error:
            left_out[name] = error
    await asyncio.gather(*pending, return_exceptions=True)
    return done
