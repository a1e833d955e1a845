"""How many tokens a model's tokenizer makes of some texts, by a node's own count.

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

_AT_ONCE: Final = 4


async def counted_tokens(cluster: VerifiedCluster, texts: Sequence[str]) -> tuple[str, list[int]] | None:
    """Name of the quickest node that counts, and the tokens of each text, marks at its ends included if it counts them.

    Args:
        cluster: The nodes that proved themselves.
        texts: Texts without the model's prompt; none longer than it reads.

    Returns:
        None where nodes answer, and none says how many tokens it read.

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
        if all(counts):
            return name, counts
    if len(causes) < len(cluster.verifications):
        return None
    told = "\n".join(f"  {error}" for error in causes.values())
    raise ClusterError(
        f"All nodes failed after they had proved themselves:\n{told}",
        causes=causes,
        state="Nothing was stored.",
        remedy="Mend one of them and run again.",
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
