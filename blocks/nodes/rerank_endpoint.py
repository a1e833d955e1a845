"""A server that scores how well passages answer a question.

There are two forms of the API. llama.cpp's `llama-server --reranking`, vLLM and others serve `/v1/rerank`, take
`documents` and answer `results` (Voyage: `data`) with `relevance_score`. TEI serves `/rerank`, takes `texts` and
answers a list with `score`. The first request finds out which form a server has.
Sources: https://github.com/ggml-org/llama.cpp/tree/master/tools/server and
https://huggingface.github.io/text-embeddings-inference.
"""

import asyncio
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from prefect_ollama.blocks.errors import InputRejected, NodeError
from prefect_ollama.blocks.nodes._body import Bounds, parse, unusable
from prefect_ollama.blocks.nodes._dialects import OPENAI_RERANK
from prefect_ollama.blocks.nodes._transport import Transport
from prefect_ollama.blocks.nodes.address import OPENAI_PATH
from prefect_ollama.blocks.nodes.spec import NodeSpec
from prefect_ollama.blocks.quantity import quantity

# A server may repeat the passages in its answer, and JSON may write a byte of them as `\u0000`.
_BYTES_A_BYTE: Final = 6

# What stands around a score: its index, its name, indentation.
_BYTES_A_SCORE: Final = 512

# Statuses with which a server says that it has no such path, or takes no such fields.
_OTHER_FORM: Final = (400, 404, 405, 422)


class _Form(NamedTuple):
    """A form of the API: whether the path is below `/v1`, the name of the passages, and further fields."""

    below_v1: bool
    passages: str
    fields: dict[str, Any]


# TEI refuses a passage that is longer than the model's context, unless it may cut it.
_FORMS: Final = (
    _Form(True, "documents", {"return_documents": False}),
    _Form(True, "texts", {"truncate": True}),
    _Form(False, "texts", {"truncate": True}),
)


class RerankEndpoint:
    """One server that reranks. Use it in one event loop, and close it there.

    Args:
        node: The server; its URL ends in `/v1`, also if the server has its path beside that.
    """

    def __init__(self, node: NodeSpec) -> None:
        self.node = node
        self._transport = Transport(node, OPENAI_RERANK, node.model)
        self._form: _Form | None = None
        self._most_passages = 0  # that the server takes in a request; 0 if unknown

    async def rerank(self, question: str, passages: Sequence[str], *, timeout: float) -> list[float]:
        """Return how well each passage answers a question: the larger the better, on a scale of the model's own.

        Args:
            question: The question.
            passages: The passages, at least one.
            timeout: Seconds until the whole answer must be there.

        Raises:
            NodeError: The server does not answer in time, refuses, or does not give one finite score for each passage.
        """
        end = asyncio.get_running_loop().time() + timeout
        most = self._most_passages or len(passages)
        while True:
            parts = [passages[at : at + most] for at in range(0, len(passages), most)]
            try:
                return [score for part in parts for score in await self._in_any_form(question, part, end)]
            except InputRejected as error:
                # A score says nothing about other passages, so a server may get them in parts.
                if not error.most_texts or error.most_texts >= most:
                    raise
                self._most_passages = most = error.most_texts

    async def _in_any_form(self, question: str, passages: Sequence[str], end: float) -> list[float]:
        size = sum(len(each.encode("utf-8", "replace")) for each in passages)
        # Brackets and commas of repeated passages count too.
        bounds = Bounds(
            64 * 1024 + size * _BYTES_A_BYTE + len(passages) * _BYTES_A_SCORE,
            64 + size + 4 * len(passages),
            256 + size + 16 * len(passages),
        )
        loop, refusals = asyncio.get_running_loop(), []
        for form in (self._form,) if self._form else _FORMS:
            try:
                body = await self._ask(form, question, passages, bounds, end - loop.time())
            except NodeError as error:
                if isinstance(error, InputRejected) and error.too_long:
                    raise InputRejected(
                        "says that the question with a passage is longer than its context. Ask a shorter question, or "
                        "start its server with a longer context (llama-server: --ctx-size and --ubatch-size).",
                        node=self.node.name,
                        status=error.status,
                        too_long=True,
                    ) from error
                if error.status not in _OTHER_FORM:
                    raise
                refusals.append(error)
                continue
            scores = _scores(body, bounds, len(passages), self.node.name)
            self._form = form
            return scores
        self._form = None  # another server may be there by the next question
        # That a path is missing says less than why a request to another one was refused.
        raise min(refusals, key=lambda error: error.status in (404, 405))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _ask(
        self, form: _Form, question: str, passages: Sequence[str], bounds: Bounds, timeout: float
    ) -> bytes:
        payload = {"query": question, form.passages: list(passages), **form.fields}
        if self.node.model:
            payload["model"] = self.node.model
        path = "rerank" if form.below_v1 else f"{self.node.url.rstrip('/').removesuffix(OPENAI_PATH)}/rerank"
        return await self._transport.call(path, payload, timeout=max(timeout, 0.0), limit=bounds.size)


def _scores(body: bytes, bounds: Bounds, count: int, node: str) -> list[float]:
    try:
        data: Any = parse(body, bounds)
    except ValueError as error:
        raise unusable(node, f"answered {error}.") from None
    rows = data.get("results", data.get("data")) if isinstance(data, dict) else data
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise unusable(node, "answered something that is no list of scores.")
    if len(rows) != count:
        raise unusable(node, f"answered {quantity(len(rows), 'score')} for {quantity(count, 'passage')}.")
    found: dict[int, float] = {}
    for row in rows:
        place, score = row.get("index"), row.get("relevance_score", row.get("score"))
        if type(place) is not int or not 0 <= place < count or place in found:
            raise unusable(node, "answered scores that it numbers in a way that does not match the passages.")
        if type(score) not in (int, float) or not math.isfinite(score):
            raise unusable(node, "answered a score that is no finite number.")
        found[place] = float(score)
    return [found[place] for place in range(count)]
