"""The models that nodes have in memory. One process asks for them every few seconds; a missing value is unknown."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Self

from prefect_ollama.blocks.nodes import (
    ClusterSpec,
    NodeSpec,
    NodeStatus,
    open_endpoint,
    timeout_while_running,
)
from prefect_ollama.blocks.periodic import PeriodicThread

# Seconds between two requests for the status of a node.
STATUS_INTERVAL_S = 15.0

# Seconds that a node may take to answer; a node that is busy with texts still answers at once.
STATUS_TIMEOUT_S = 5.0

# Seconds that the end of a run waits for answers.
END_TIMEOUT_S = 1.0


class ModelMemory:
    """Asks all nodes at the start and every `STATUS_INTERVAL_S` seconds, in a thread that ends with the context."""

    def __init__(self, cluster: ClusterSpec) -> None:
        self._cluster = cluster
        self._found: dict[str, NodeStatus] = {}
        self._thread = PeriodicThread(self._look, STATUS_INTERVAL_S, name="memory", within=self._first_look)

    @property
    def nodes(self) -> Mapping[str, NodeStatus]:
        """The known status, by node."""
        return self._found

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A node that does not answer does not hold up the end of the run: its thread ends after it.
        self._thread.end(END_TIMEOUT_S)

    @contextmanager
    def _first_look(self) -> Iterator[None]:
        self._look()
        yield

    def _look(self) -> None:
        self._found = asyncio.run(self._ask_all())

    async def _ask_all(self) -> dict[str, NodeStatus]:
        nodes = self._cluster.nodes
        found = await asyncio.gather(*(self._ask(node) for node in nodes))
        return dict(zip((node.name for node in nodes), found, strict=True))

    async def _ask(self, node: NodeSpec) -> NodeStatus:
        loaded = None
        # An error here has no effect: the dispatcher judges the node.
        with suppress(Exception):
            async with (
                timeout_while_running(STATUS_TIMEOUT_S),
                open_endpoint(node, self._cluster.model) as endpoint,
            ):
                loaded = await endpoint.running()
        return NodeStatus.of(node, model=self._cluster.model.name, loaded=loaded)
