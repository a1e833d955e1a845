"""An endpoint with `/v1/rerank`, which scores how well passages answer a question.

llama.cpp's `llama-server --reranking`, vLLM and others take `documents` and answer `results` with `relevance_score`;
TEI takes `texts` and answers a list with `score`. Sources: https://github.com/ggml-org/llama.cpp/tree/master/tools/server
and https://huggingface.github.io/text-embeddings-inference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from prefect_ollama.blocks.errors import InputRejected, NodeAnswerError, NodeError, NodeFailed
from prefect_ollama.blocks.nodes._dialects import OPENAI
from prefect_ollama.blocks.nodes._payload import Bounds, parse
from prefect_ollama.blocks.nodes._transport import Transport
from prefect_ollama.blocks.nodes.spec import NodeSpec

# A server may repeat the passages in its answer, and JSON may write a byte of them as `\u0000`.
_BYTES_A_BYTE: Final = 6

# What stands around a score: its index, its name, indentation.
_BYTES_A_SCORE: Final = 512


async def rerank(node: NodeSpec, question: str, passages: Sequence[str], *, timeout: float) -> list[float]:
    """Return a score of each passage for a question: the larger the better, on the scale of the model.

    Args:
        node: The endpoint; its URL ends in `/v1`.
        question: The question.
        passages: The passages, at least one.
        timeout: Seconds for the whole answer.

    Raises:
        NodeError: It does not answer in time, refuses, or does not answer one finite score for each passage.
    """
    transport = Transport(node, OPENAI)
    size = sum(len(each.encode("utf-8", "replace")) for each in passages)
    # Brackets and commas of repeated passages count too.
    bounds = Bounds(
        64 * 1024 + size * _BYTES_A_BYTE + len(passages) * _BYTES_A_SCORE,
        64 + size + 4 * len(passages),
        256 + size + 16 * len(passages),
    )
    asked = {"query": question, "return_documents": False} | ({"model": node.model} if node.model else {})

    async def ask(name: str) -> bytes:
        payload = asked | {name: list(passages)}
        return await transport.call(
            "POST", "rerank", payload, timeout=timeout, limit=bounds.size, model=node.model
        )

    try:
        try:
            # TEI knows `texts` only, and the other servers `documents`. Nothing else shows which server it is.
            body = await ask("documents")
        except NodeError as error:
            if error.status not in (400, 422) or not isinstance(error, InputRejected | NodeFailed):
                raise
            body = await ask("texts")
        return _scores(body, bounds, len(passages), node.name)
    finally:
        await transport.aclose()


def _scores(body: bytes, bounds: Bounds, count: int, node: str) -> list[float]:
    def unusable(what: str) -> NodeAnswerError:
        return NodeAnswerError(
            f"answered {what}.", node=node, status=200, remedy="Look at what answers at its URL."
        )

    try:
        data: Any = parse(body, bounds)
    except ValueError as error:
        why = str(error)
        raise unusable(why) from None
    rows = data.get("results") if isinstance(data, dict) else data
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise unusable("something that is no list of scores")
    if len(rows) != count:
        raise unusable(f"{len(rows)} scores for {count} passages")
    found: dict[int, float] = {}
    for row in rows:
        place, score = row.get("index"), row.get("relevance_score", row.get("score"))
        if type(place) is not int or not 0 <= place < count or place in found:
            raise unusable("scores that it numbers in a way that does not match the passages")
        if type(score) not in (int, float) or not math.isfinite(score):
            raise unusable("a score that is no finite number")
        found[place] = float(score)
    return [found[place] for place in range(count)]
