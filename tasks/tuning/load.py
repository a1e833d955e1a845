"""A steady load on one node: a fixed number of requests in flight, each with a fixed number of texts."""

import asyncio
import itertools
import math
from collections.abc import Sequence
from statistics import median, quantiles

from prefect_ollama.blocks.nodes import Endpoint
from prefect_ollama.tasks.tuning.measured_settings import Point

# Answers of each lane in a measurement at least. Fewer would count the time in which the load builds up.
MIN_ANSWERS_A_LANE = 2

# Answers of all lanes together in a measurement at least, so that the percentiles mean something.
MIN_ANSWERS = 6


class Load:
    """Measures settings of one node.

    Args:
        endpoint: The node, model loaded.
        texts: Texts to send, prefix included; they are sent in turn.
        timeout: Seconds that a request may take.
    """

    def __init__(self, endpoint: Endpoint, texts: Sequence[str], *, timeout: float) -> None:
        self._endpoint = endpoint
        self._texts = itertools.cycle(texts)
        self._timeout = timeout

    async def __call__(self, in_flight: int, texts: int, seconds: float) -> Point:
        """Measure a setting over some seconds, or longer if few answers come.

        Each request in flight belongs to a worker, which sends its next request when it has an answer. The rate of a
        lane counts from its first answer, when the node has its full load, to its last answer before any lane stops.

        Raises:
            NodeError: A request failed; no other request is left in flight.
        """
        loop = asyncio.get_running_loop()
        lanes: list[list[float]] = [[] for _ in range(in_flight)]
        took: list[float] = []
        rounds = 1 + max(MIN_ANSWERS_A_LANE, math.ceil(MIN_ANSWERS / in_flight))
        stopped = False

        async def send(lane: list[float]) -> None:
            nonlocal stopped
            while not stopped:
                batch = list(itertools.islice(self._texts, texts))
                start = loop.time()
                await self._endpoint.embed(batch, timeout=self._timeout)
                if stopped:
                    return
                lane.append(loop.time())
                if len(lane) > 1:
                    took.append(lane[-1] - start)
                stopped = min(map(len, lanes)) >= rounds and lane[-1] - lane[0] >= seconds

        try:
            async with asyncio.TaskGroup() as group:
                for lane in lanes:
                    group.create_task(send(lane))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        rate = sum((len(lane) - 1) * texts / max(lane[-1] - lane[0], 1e-9) for lane in lanes)
        spans = [lane[-1] - lane[0] for lane in lanes]
        return Point(in_flight, texts, rate, median(took), quantiles(took, n=20)[-1], sum(spans) / len(spans))
