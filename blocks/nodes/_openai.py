"""Servers with `/v1/embeddings`: llama.cpp's `llama-server`, vLLM, TEI, LM Studio and others.

Guarantees: vectors have the order of the texts and norm 1. No text is cut silently, even if the server cuts long texts.
Only vectors identify the model: names are free text there, and several of these servers ignore the requested one.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from prefect_ollama.blocks.errors import InputRejected, NodeFailed, NodeRefused
from prefect_ollama.blocks.nodes._dialects import OPENAI
from prefect_ollama.blocks.nodes._model_info import other_models
from prefect_ollama.blocks.nodes._openai_requests import EmbeddingRequests, Wanted
from prefect_ollama.blocks.nodes._openai_server import ServerInfo, ask_models, ask_server
from prefect_ollama.blocks.nodes._transport import Transport
from prefect_ollama.blocks.nodes.canaries import long_pair
from prefect_ollama.blocks.nodes.embed_response import Answer
from prefect_ollama.blocks.nodes.endpoint import (
    DESCRIPTION_TIMEOUT_S,
    Endpoint,
    Inventory,
    NodeModel,
    Progress,
)
from prefect_ollama.blocks.nodes.spec import ModelSpec, NodeSpec

# Words of the texts that show what a server does with long texts: as many as the longest default context.
PROBED_WORDS: Final = 2048

# Cosine of two texts with one beginning and other ends, from which on the ends were cut.
SAME_TEXT_COSINE: Final = 0.9999

# Maximum number of tokens that a model adds to a text.
_END_TOKENS: Final = 8

# Seconds for which a process uses what it found out about a server, because a run opens several endpoints.
_INFO_SECONDS: Final = 600.0

_found: dict[tuple[str, str], tuple[float, ServerInfo]] = {}


class OpenAIEndpoint(Endpoint):
    """Speaks OpenAI's API with one node. Use it in one event loop, and close it there."""

    def __init__(self, node: NodeSpec, model: ModelSpec) -> None:
        self.node = node
        self.model = model
        self._transport = Transport(node, OPENAI, self._name)
        self.disclosure = self._transport.disclosure
        self._requests = EmbeddingRequests(self._transport)
        self._asking = asyncio.Lock()

    @property
    def _name(self) -> str:
        return self.node.model or self.model.name

    async def embed(self, texts: Sequence[str], *, timeout: float, dimension: int | None = None) -> Answer:
        """Return the vectors of texts, in several requests if the server accepts fewer; see `Endpoint.embed`."""
        wanted = self._expected_answer(timeout, dimension)
        info = await self._info(timeout)
        answers = []
        for part, may_be_cut in self._parts(texts, info):
            try:
                answer = await self._requests.embed(part, wanted)
            except NodeRefused as error:
                raise self._no_model(error, info) from None
            if may_be_cut and not 0 < answer.tokens < info.context:
                raise InputRejected(
                    "cuts a text that is longer than the model's context.", node=self.node.name, too_long=True
                )
            answers.append(answer)
        return self._requests.joined(answers)

    def _expected_answer(self, timeout: float, dimension: int | None) -> Wanted:
        end = asyncio.get_running_loop().time() + timeout
        return Wanted(self._name, dimension, self.model.dimensions, end)

    async def identify(self, *, pull: bool = False, progress: Progress | None = None) -> NodeModel:
        """Return the node's description of itself, and download nothing; see `Endpoint.identify`."""
        info = await self._info(self.node.load_timeout)
        wanted = self.model.num_ctx
        if wanted and info.context and info.context < wanted:
            raise NodeRefused(
                f"reads {info.context} tokens; the cluster asks for {wanted}.",
                node=self.node.name,
                remedy="Start its server with a longer context (llama-server: --ctx-size and --ubatch-size), or set "
                "*Context* in the cluster.",
            )
        return NodeModel(info.server, "", info.quantization, info.context)

    async def build(self, *, timeout: float = DESCRIPTION_TIMEOUT_S) -> NodeModel:
        """Return name and version of the server; no digest, because none is known. See `Endpoint.build`."""
        info = await ask_server(self._transport, self._name, timeout=timeout)
        return NodeModel(info.server, "", info.quantization)

    async def inventory(self) -> Inventory:
        info = await ask_server(self._transport, self._name, timeout=DESCRIPTION_TIMEOUT_S)
        loop = asyncio.get_running_loop()
        start = loop.time()
        await ask_models(self._transport, timeout=DESCRIPTION_TIMEOUT_S)
        latency = loop.time() - start
        return Inventory(info.server, tuple(sorted(self.disclosure.names(info.models))), latency)

    async def running(self) -> None:
        """Return None: this API does not report the models in memory."""
        return

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _parts(self, texts: Sequence[str], info: ServerInfo) -> list[tuple[Sequence[str], bool]]:
        """Return the texts in groups that the server accepts, and whether each group is one text that it may cut.

        A server that cuts long texts shows that only by its count of tokens, which is summed over a request. So a text
        that may be too long (no token is shorter than a byte) is a group of its own.
        """
        limits = self._requests.most_texts, info.most_texts, self.node.max_request_texts
        most = min(filter(None, (*limits, len(texts))))
        parts: list[tuple[Sequence[str], bool]] = []
        start = 0
        for at, text in enumerate(texts):
            lone = bool(info.cuts) and len(text.encode("utf-8", "replace")) + _END_TOKENS > info.context
            if at > start and (lone or at - start == most):
                parts.append((texts[start:at], False))
                start = at
            if lone:
                parts.append((texts[at : at + 1], True))
                start = at + 1
        if start < len(texts):
            parts.append((texts[start:], False))
        return parts

    def _no_model(self, error: NodeRefused, info: ServerInfo) -> NodeRefused:
        """Return the error of a server without the model, with the names of its models."""
        names = self.disclosure.names(info.models)
        if error.status != 404 or not names or self._name in names:
            return error
        return NodeRefused(
            f"does not have the model {self._name!r}. {other_models(names)}",
            node=self.node.name,
            status=404,
            remedy=OPENAI.no_model_remedy,
        )

    async def _info(self, timeout: float) -> ServerInfo:
        """Return the description of the server, which is read at most once in `_INFO_SECONDS`."""
        key = self.node.url, self._name
        async with self._asking:
            read_at, info = _found.get(key, (-math.inf, ServerInfo()))
            if time.monotonic() - read_at > _INFO_SECONDS:
                limit = min(timeout, DESCRIPTION_TIMEOUT_S)
                info = await ask_server(self._transport, self._name, timeout=limit)
                info = await self._try_long_texts(info, timeout)
                _found[key] = time.monotonic(), info
        known = self.node.context or info.context
        return replace(info, context=min(known, info.context) if info.cuts else known)

    async def _try_long_texts(self, info: ServerInfo, timeout: float) -> ServerInfo:
        """Find out what the server does with texts that are too long, if it does not report that.

        Raises:
            NodeRefused: The server cuts long texts and does not count tokens, so the client cannot know which text was
                cut.
        """
        known = self.node.context or info.context
        if info.cuts is False and not info.server.startswith("llama.cpp"):
            return info
        words = min(known or PROBED_WORDS, PROBED_WORDS)
        try:
            # llama-server refuses texts that are longer than its physical batch, and does not report its size.
            pair = long_pair(words)
            answer = await self._requests.send(pair, self._expected_answer(timeout, None))
        except NodeRefused as error:
            raise self._no_model(error, info) from None
        except InputRejected as error:
            limit = error.most_tokens or 0
            return replace(info, cuts=False, context=min(filter(None, (limit, known)), default=0))
        except NodeFailed:
            return replace(info, cuts=False)
        one, other = answer.vectors.astype(np.float64)
        has_cut = float(one @ other) >= SAME_TEXT_COSINE
        if not (has_cut or info.cuts):
            return replace(info, cuts=False)
        left = answer.tokens // 2
        # A text has a token for each word. So a server that found as many in a text that it cut counts before the cut.
        if not left or (not info.cuts and left >= words):
            raise NodeRefused(
                "cuts texts that are longer than the model's context, and does not count the tokens that are left, so "
                "that nobody can tell which text it cut.",
                node=self.node.name,
                remedy="Start its server so that it refuses such texts.",
            )
        # Some servers cut texts long before the context that they report.
        return replace(info, cuts=True, context=min(known or left, left) if has_cut else known or left)
