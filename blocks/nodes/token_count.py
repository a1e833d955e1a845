"""Count tokens of texts, as a node counts them.

A node counts all texts of a request together, so each text is a request of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from prefect_ollama.blocks.errors import ClusterError, InputRejected, NodeError
from prefect_ollama.blocks.nodes.apis import open_endpoint
from prefect_ollama.blocks.nodes.spec import ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.verification import VerifiedCluster

# Requests at the same time: enough to keep a node busy, few beside the work of a run.
_AT_ONCE: Final = 4


async def counted_tokens(cluster: VerifiedCluster, texts: Sequence[str]) -> tuple[str, list[int]] | None:
    """Return the name of the fastest node that counts tokens, and the tokens of each text.

    Args:
        cluster: The verified nodes.
        texts: Texts without the model's prompt; none longer than the model's context.

    Returns:
        The counts, with the marks at the ends of a text if the node counts those; None if the nodes that answer count
        no tokens.

    Raises:
        ClusterError: No node answers.
    """
    causes: dict[str, NodeError] = {}
    for name in sorted(cluster.verifications, key=lambda name: cluster.verifications[name].seconds):
        node = next(node for node in cluster.spec.nodes if node.name == name)
        try:
            counts = await _counts(node, cluster.spec.model, texts)
        except InputRejected:
            return None
        except NodeError as error:
            causes[name] = error
            continue
        # A node that does not count tokens answers 0.
        if all(counts):
            return name, counts
    if len(causes) < len(cluster.verifications):
        return None
    raise ClusterError.of_nodes(
        "All nodes failed after they were verified", causes, state="Nothing was stored."
    )


async def _counts(node: NodeSpec, model: ModelSpec, texts: Sequence[str]) -> list[int]:
    room = asyncio.Semaphore(min(_AT_ONCE, node.max_in_flight))
    async with open_endpoint(node, model) as client:

        async def count(text: str) -> int:
            async with room:
                return (await client.embed([text], timeout=node.read_timeout)).tokens

        try:
            async with asyncio.TaskGroup() as group:
                counts = [group.create_task(count(text)) for text in texts]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
    return [count.result() for count in counts]
