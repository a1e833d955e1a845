"""Ask a node for the vectors of canary texts.

Some canaries are sent again in another order, which shows a node or proxy that answers in the wrong order.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import numpy as np

from prefect_ollama.blocks.errors import InputRejected, NodeAnswerError, NodeBusy, NodeError, NodeUnreachable
from prefect_ollama.blocks.nodes._body import unusable
from prefect_ollama.blocks.nodes.canaries import QUICK, SCRIPT_TEXTS, SHORT
from prefect_ollama.blocks.nodes.embed_response import Vectors
from prefect_ollama.blocks.nodes.endpoint import Endpoint, find_model

T = TypeVar("T")

# Least cosine between two vectors of one text from one node; those of two canaries are far below.
SAME_ORDER_COSINE: Final = 0.999


async def canary_vectors(
    client: Endpoint, texts: Sequence[str], *, timeout: float
) -> tuple[Sequence[str], Vectors, float]:
    """Ask for the vectors of canary texts, and for those of `SHORT` again in another order.

    Args:
        texts: Canary texts, which begin with `SHORT`.
        timeout: Seconds for each request.

    Returns:
        The texts that it took (without those that are too long for its context), their vectors of shape
        (texts, dimension), and the seconds of the last request.

    Raises:
        NodeError: No answer, or one that cannot be believed.
    """
    scripts = tuple(each for each in texts if each in SCRIPT_TEXTS)
    plain = tuple(each for each in texts if each not in scripts)
    try:
        # Beside each other: in one list the scripts would add half to the time of a slow node with several slots, and
        # it would be left out at the start for it.
        (plain, first), (scripts, other) = await _beside_each_other(
            lambda: _vectors_of(client, plain, at_least=len(QUICK), timeout=timeout),
            lambda: _vectors_of(client, scripts, at_least=0, timeout=timeout),
        )
        start = asyncio.get_running_loop().time()
        again = await client.embed(SHORT[::-1], timeout=timeout, dimension=first.shape[1])
    except InputRejected as error:
        raise NodeAnswerError(f"refuses the canary texts ({error.cause})", node=client.node.name) from error
    except NodeUnreachable as error:
        if not error.silent or not await _has_in_memory(client):
            raise
        # Ollama loads a model again for other options, and delays this until the model has expired. Requests with
        # the options of the loaded model overtake, and each makes it expire later.
        raise NodeUnreachable(
            f"did not give a whole answer within {timeout:.3g} s, though it has the model in memory.",
            node=client.node.name,
            silent=True,
            remedy="Another program may use the model there with other options, such as another context. Run "
            f"'ollama stop {client.model.name}' there, and give all programs the same context.",
        ) from error
    seconds = asyncio.get_running_loop().time() - start
    if scripts and other.shape[1] != first.shape[1]:
        raise unusable(
            client.node.name, f"answered vectors of {first.shape[1]} and of {other.shape[1]} dimensions."
        )
    if np.min(np.einsum("ij,ij->i", first[: len(SHORT)], again.vectors[::-1])) < SAME_ORDER_COSINE:
        raise NodeAnswerError(
            "gives a text another vector when the order of the list changes.",
            node=client.node.name,
            remedy="Look for a proxy that mixes up answers, or update the server there.",
        )
    return (*plain, *scripts), np.concatenate([first, other]) if scripts else first, seconds


async def _beside_each_other(*calls: Callable[[], Awaitable[T]]) -> list[T]:
    """Return the results of calls at the same time; if the node is too busy for that, one after the other."""
    running = [asyncio.ensure_future(call()) for call in calls]
    try:
        return await asyncio.gather(*running)
    except NodeBusy as error:
        if error.retry_after:
            raise
        # A proxy may let only one request through. Requests that the node accepted are waited for.
        ended = await asyncio.gather(*running, return_exceptions=True)
        if all(isinstance(each, NodeBusy) for each in ended):
            raise
        return [
            await call() if task.exception() else task.result()
            for call, task in zip(calls, running, strict=True)
        ]
    finally:
        for task in running:
            task.cancel()


async def _vectors_of(
    client: Endpoint, texts: tuple[str, ...], *, at_least: int, timeout: float
) -> tuple[tuple[str, ...], Vectors]:
    """Return the texts that a node takes, with their vectors: all, or only the first ones, which it must take."""
    if not texts:
        return (), np.empty((0, 0), np.float32)
    try:
        return texts, (await client.embed(texts, timeout=timeout)).vectors
    except InputRejected:
        if len(texts) <= at_least:
            raise
        return await _vectors_of(client, texts[:at_least], at_least=at_least, timeout=timeout)


async def _has_in_memory(client: Endpoint) -> bool:
    try:
        return find_model(await client.running() or (), client.model.name) is not None
    except NodeError:
        return False
