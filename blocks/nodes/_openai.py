"""Servers with `/v1/embeddings`: llama.cpp's `llama-server`, vLLM, TEI, LM Studio and others.

Guarantees: vectors come in the order of the texts and have norm 1; no text is cut silently, also where the server cuts
texts that are too long. The model is identified by its vectors alone: names are free text there, and several of these
servers ignore the one that they are asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from prefect_ollama.blocks.errors import InputRejected, NodeAnswerError, NodeError, NodeFailed, NodeRefused
from prefect_ollama.blocks.nodes._errors import OPENAI, no_room
from prefect_ollama.blocks.nodes._model_info import other_models
from prefect_ollama.blocks.nodes._openai_answer import embedding_bounds, read_embeddings
from prefect_ollama.blocks.nodes._openai_server import ServerInfo, ask_models, ask_server
from prefect_ollama.blocks.nodes._transport import Transport
from prefect_ollama.blocks.nodes.canaries import long_pair
from prefect_ollama.blocks.nodes.embed_response import Answer, most_tokens_of
from prefect_ollama.blocks.nodes.endpoint import (
    DESCRIPTION_TIMEOUT_S,
    Endpoint,
    Inventory,
    NodeModel,
    Progress,
)
from prefect_ollama.blocks.nodes.spec import ModelSpec, NodeSpec

# Words of the texts that show what a server does with long texts: as many as the longest context that is asked
# for.
PROBED_WORDS: Final = 2048

# Cosine from which two texts of one beginning were cut before their ends, which are of other words.
SAME_TEXT: Final = 0.9999

# Tokens that a model adds to a text, at most.
_END_TOKENS: Final = 8

# Seconds that what was found out about a server counts in this process: each run opens several endpoints.
_INFO_SECONDS: Final = 600.0

_found: dict[tuple[str, str], tuple[float, ServerInfo]] = {}


class OpenAIEndpoint(Endpoint):
    """Speaks OpenAI's API with one node. Use it in one event loop, and close it there.

    Args:
        node: The node; its URL ends in `/v1`, or whatever the server has in its place.
        model: The model of all calls.
    """

    def __init__(self, node: NodeSpec, model: ModelSpec) -> None:
        self.node = node
        self.model = model
        self._transport = Transport(node, OPENAI)
        self.disclosure = self._transport.disclosure
        self._encoding: str | None = "base64"
        self._encoding_works = False
        self._most_texts = 0
        self._asking = asyncio.Lock()
        self._one_at_a_time = False
        self._turn = asyncio.Lock()
        self._together = 0
        self._alone = asyncio.Event()

    @property
    def _name(self) -> str:
        return self.node.model or self.model.name

    async def embed(self, texts: Sequence[str], *, timeout: float, dimension: int | None = None) -> Answer:
        """Return the vectors of texts, in several requests where the server takes fewer texts; see `Endpoint.embed`."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        info = await self._info(timeout)
        answers = []
        for part, lone in self._parts(texts, info):
            answer = await self._embed(part, timeout=max(end - loop.time(), 0.001), dimension=dimension)
            if lone and answer.tokens >= info.context:
                raise InputRejected(
                    "cuts a text that is longer than the model's context.", node=self.node.name, too_long=True
                )
            answers.append(answer)
        return _joined(answers, self.node)

    async def identify(self, *, pull: bool = False, progress: Progress | None = None) -> NodeModel:
        """Return the node's description of itself, and download nothing; see `Endpoint.identify`."""
        info = await self._info(self.node.load_timeout)
        wanted = self.model.num_ctx
        if wanted and info.context and info.context < wanted:
            raise NodeRefused(
                f"reads {info.context} tokens; the cluster asks for {wanted}.",
                node=self.node.name,
                remedy="Start its server with a longer context (llama-server: --ctx-size and --ubatch-size), or set "
                "the cluster's context.",
            )
        return NodeModel(info.server, "", info.quantization, info.context)

    async def build(self, *, timeout: float = DESCRIPTION_TIMEOUT_S) -> NodeModel:
        """Return name and version of the server; no digest, because none is known. See `Endpoint.build`."""
        info = await ask_server(self._transport, self._name, timeout=timeout)
        return NodeModel(info.server, "", info.quantization)

    async def inventory(self) -> Inventory:
        """Return what the node has; see `Endpoint.inventory`."""
        info = await ask_server(self._transport, self._name, timeout=DESCRIPTION_TIMEOUT_S)
        loop = asyncio.get_running_loop()
        start = loop.time()
        await ask_models(self._transport, timeout=DESCRIPTION_TIMEOUT_S)
        latency = loop.time() - start
        return Inventory(info.server, tuple(sorted(self.disclosure.names(info.models))), latency)

    async def alive(self) -> bool:
        """Return whether a server of this API answers."""
        try:
            await ask_models(self._transport, timeout=DESCRIPTION_TIMEOUT_S)
        except NodeError:
            return False
        return True

    async def running(self) -> None:
        """Return None: this API does not tell what is in memory."""
        return

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    # ---- one request

    def _parts(self, texts: Sequence[str], info: ServerInfo) -> list[tuple[Sequence[str], bool]]:
        """Return the texts in requests that the server takes, and of each whether it may be cut.

        A server that cuts long texts says so only by its count of tokens, which is summed over a request. So a text
        that may be too long (no token is shorter than a byte) has a request of its own there.
        """
        most = min(filter(None, (self._most_texts, info.most_texts, len(texts))))
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

    async def _embed(self, texts: Sequence[str], *, timeout: float, dimension: int | None) -> Answer:
        """Embed texts in one request, and one after the other where the server has no room for all at once."""
        end = asyncio.get_running_loop().time() + timeout
        if not self._one_at_a_time:
            self._together += 1
            self._alone.clear()
            try:
                return await self._divided(texts, end, dimension)
            except NodeFailed as error:
                if not no_room(error):
                    raise
                self._one_at_a_time = True
            finally:
                self._together -= 1
                if not self._together:
                    self._alone.set()
        async with self._turn:
            await self._alone.wait()  # for requests that went out together with this one
            return await self._halved(texts, end, dimension)

    async def _halved(self, texts: Sequence[str], end: float, dimension: int | None) -> Answer:
        """Embed texts while the server has no other request of this endpoint."""
        try:
            return await self._divided(texts, end, dimension)
        except NodeFailed as error:
            if not no_room(error) or len(texts) == 1:
                raise
        most = self._most_texts = (len(texts) + 1) // 2
        return _joined([await self._halved(part, end, dimension) for part in _runs(texts, most)], self.node)

    async def _divided(self, texts: Sequence[str], end: float, dimension: int | None) -> Answer:
        """Embed texts in as many requests as the server's own limit of texts asks for."""
        try:
            return await self._in_its_encoding(texts, end, dimension)
        except InputRejected as error:
            if not error.most_texts or error.most_texts >= len(texts):
                raise
            most = self._most_texts = error.most_texts
        return _joined([await self._divided(part, end, dimension) for part in _runs(texts, most)], self.node)

    async def _in_its_encoding(self, texts: Sequence[str], end: float, dimension: int | None) -> Answer:
        loop = asyncio.get_running_loop()
        try:
            return await self._request(texts, timeout=max(end - loop.time(), 0.001), dimension=dimension)
        except (InputRejected, NodeFailed) as error:
            about_length = isinstance(error, InputRejected) and (error.too_long or error.most_texts)
            if about_length or not self._may_not_know_base64(error):
                raise
        # Some servers refuse the encoding. If it was something else, this fails too and says what.
        self._encoding = None
        try:
            return await self._request(texts, timeout=max(end - loop.time(), 0.001), dimension=dimension)
        except NodeError:
            self._encoding = "base64"
            raise

    def _may_not_know_base64(self, error: NodeError) -> bool:
        return self._encoding is not None and not self._encoding_works and error.status in (400, 422)

    async def _request(self, texts: Sequence[str], *, timeout: float, dimension: int | None) -> Answer:
        payload: dict[str, Any] = {"model": self._name, "input": list(texts)}
        if encoding := self._encoding:
            payload["encoding_format"] = encoding
        # `dimensions` is not sent: some servers ignore it and some refuse it, and a cut is the same here.
        cut_to = self.model.dimensions
        limit = embedding_bounds(len(texts), None if cut_to else dimension).size
        try:
            body = await self._transport.call(
                "POST", "embeddings", payload, timeout=timeout, limit=limit, model=self._name
            )
        except NodeRefused as error:
            raise self._no_model(error) from None
        answer = read_embeddings(
            body,
            count=len(texts),
            dimension=dimension,
            node=self.node.name,
            disclosure=self.disclosure,
            most_tokens=most_tokens_of(texts),
            cut_to=cut_to,
        )
        self._encoding_works = self._encoding_works or encoding is not None
        return answer

    def _no_model(self, error: NodeRefused) -> NodeRefused:
        """Return the error of a server that lacks the model, with the models that it has."""
        known = _found.get(self._key)
        names = self.disclosure.names(known[1].models) if known else []
        if error.status != 404 or not names or self._name in names:
            return error
        return NodeRefused(
            f"does not have the model {self._name!r}. {other_models(names)}",
            node=self.node.name,
            status=404,
            remedy="Write the name that it has there into the field 'Model' of the node's block, or start its server "
            "with the model.",
        )

    # ---- what the server does

    @property
    def _key(self) -> tuple[str, str]:
        return self.node.url, self._name

    async def _info(self, timeout: float) -> ServerInfo:
        """Return what is known of the server, found out at most once in `_INFO_SECONDS`."""
        async with self._asking:
            known = _found.get(self._key)
            if known is None or time.monotonic() - known[0] > _INFO_SECONDS:
                info = await ask_server(
                    self._transport, self._name, timeout=min(timeout, DESCRIPTION_TIMEOUT_S)
                )
                _found[self._key] = time.monotonic(), info
                try:
                    info = await self._try_long_texts(info, timeout)
                except NodeError:
                    del _found[self._key]
                    raise
                _found[self._key] = known = time.monotonic(), info
        info = known[1]
        return replace(info, context=self.node.context) if self.node.context else info

    async def _try_long_texts(self, info: ServerInfo, timeout: float) -> ServerInfo:
        """Find out what the server does with texts that are too long, where it does not say so itself.

        Raises:
            NodeRefused: It cuts them, and does not count tokens, so that nobody can tell which text it cut.
        """
        known = self.node.context or info.context
        if info.cuts is False and not info.server.startswith("llama.cpp"):
            return info
        try:
            # llama-server reads no text that is longer than its physical batch, and does not tell its size.
            answer = await self._request(
                long_pair(min(known or PROBED_WORDS, PROBED_WORDS)), timeout=timeout, dimension=None
            )
        except InputRejected as error:
            limit = error.most_tokens or 0
            return replace(info, cuts=False, context=min(filter(None, (limit, known)), default=0))
        except NodeFailed:
            return replace(info, cuts=False)
        one, other = answer.vectors.astype(np.float64)
        cuts = bool(info.cuts) or float(one @ other) >= SAME_TEXT
        if not cuts:
            return replace(info, cuts=False)
        if not answer.tokens:
            raise NodeRefused(
                "cuts texts that are longer than the model's context, and does not count tokens, so that nobody can "
                "tell which text it cut.",
                node=self.node.name,
                remedy="Start its server so that it refuses such texts.",
            )
        return replace(info, cuts=True, context=known or answer.tokens // 2)


def _runs(texts: Sequence[str], most: int) -> list[Sequence[str]]:
    return [texts[at : at + most] for at in range(0, len(texts), most)]


def _joined(answers: Sequence[Answer], node: NodeSpec) -> Answer:
    if len(answers) == 1:
        return answers[0]
    if len({answer.vectors.shape[1] for answer in answers}) != 1:
        raise NodeAnswerError("answered vectors of unequal length.", node=node.name, status=200)
    return Answer(
        np.concatenate([answer.vectors for answer in answers]), sum(answer.tokens for answer in answers)
    )
