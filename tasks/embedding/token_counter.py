"""The way in which tokens of chunks are counted.

It is chosen when a table is made, and never changes for this table. Chunks only keep their text from run to run if a
sentence always has the same length. So the choice is part of the table's identity, with the measured rates, and the
rates are never measured again for the table.

A node counts all texts of a request together, so each text whose tokens it counts is a request of its own.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from prefect.utilities.asyncutils import run_coro_as_sync

from prefect_ollama.blocks.documents import Identity
from prefect_ollama.blocks.errors import ClusterError, InputRejected, ModelFilesError, NodeError
from prefect_ollama.blocks.nodes import ModelSpec, NodeSpec, VerifiedCluster, full_name, open_endpoint
from prefect_ollama.tasks.chunking import estimate_tokens, gauge_texts, measured_rates
from prefect_ollama.tasks.planning import MINILM, ChunkingPlan
from prefect_ollama.tasks.prefect_state import run_logger


def choose_counter(found: Identity | None, cluster: VerifiedCluster) -> str:
    """Return the name of the way in which a run counts tokens, for its `ChunkingPlan`.

    An existing table keeps its way of counting. A new table uses the model's tokenizer if it is installed, and
    otherwise rates by script, which are measured with one of the nodes.

    Args:
        found: Identity of the table; None if there is no table yet.
        cluster: The verified nodes.

    Raises:
        ClusterError: No node answers any more.
        ModelFilesError: The table's chunks were counted with a tokenizer that is not installed here.
    """
    stored = None if found is None else ChunkingPlan.counter_in(found.chunker)
    # Before any work, because a parse task would fail on each file without it.
    if stored == MINILM:
        _look_for_tokenizer()
    if stored is not None:
        return stored
    if full_name(cluster.spec.model.name) == full_name(MINILM):
        try:
            _look_for_tokenizer()
        except ModelFilesError as error:
            run_logger().info("Tokens are estimated: %s", error)
        else:
            return MINILM
    return _measure(cluster)


def _measure(cluster: VerifiedCluster) -> str:
    counted = run_coro_as_sync(counted_tokens(cluster, gauge_texts()))
    if counted is not None and (rates := measured_rates(counted[1])) is not None:
        run_logger().info(
            "Tokens are estimated from what node %r counts in %d short texts: %d for 1000 characters of English.",
            counted[0],
            len(counted[1]),
            rates("the " * 250),
        )
        return rates.name
    run_logger().info(
        "No node reports how many tokens a text has. So tokens are estimated, rather too many than too few, and chunks "
        "are shorter than requested."
    )
    return estimate_tokens.name


def _look_for_tokenizer() -> None:
    from prefect_ollama.blocks.embedded import count_tokens

    count_tokens("")


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
