"""Requests to `/v1/embeddings`: texts are sent in as many requests as the server accepts.

The server's refusals show its limits: the texts of a request, the room for requests at the same time, and whether it
knows the encoding base64, which is a third of the size of a list of numbers.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefect_ollama.blocks.errors import InputRejected, NodeError, NodeFailed
from prefect_ollama.blocks.nodes._body import unusable
from prefect_ollama.blocks.nodes._errors import no_room
from prefect_ollama.blocks.nodes._transport import Transport
from prefect_ollama.blocks.nodes.embed_response import Answer, embedding_bounds, read_embeddings


@dataclass(frozen=True, slots=True)
class Wanted:
    """The model, the expected length of vectors, the length to which they are cut, and the end by the loop's clock."""

    model: str
    dimension: int | None
    cut_to: int | None
    end: float


class EmbeddingRequests:
    """Sends texts to one server, and remembers its limits.

    Attributes:
        most_texts: Highest number of texts that it accepts in a request; 0 if unknown.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.most_texts = 0
        self._encoding: str | None = "base64"
        self._encoding_works = False
        self._one_at_a_time = False
        self._turn = asyncio.Lock()
        self._in_flight = 0
        self._idle = asyncio.Event()

    async def embed(self, texts: Sequence[str], wanted: Wanted) -> Answer:
        """Return the vectors of texts. If the server has no room for several requests, they are sent one by one."""
        if not self._one_at_a_time:
            self._in_flight += 1
            self._idle.clear()
            try:
                return await self._in_parts(texts, wanted)
            except NodeFailed as error:
                if not no_room(error):
                    raise
                self._one_at_a_time = True
            finally:
                self._in_flight -= 1
                if not self._in_flight:
                    self._idle.set()
        async with self._turn:
            await self._idle.wait()  # for the requests that were sent before
            return await self._in_parts(texts, wanted, alone=True)

    async def _in_parts(self, texts: Sequence[str], wanted: Wanted, *, alone: bool = False) -> Answer:
        """Embed texts in as many requests as the server's limit of texts demands.

        If it has no room though it has no other request of this endpoint (`alone`), each request has half the texts.
        """
        try:
            return await self.send(texts, wanted)
        except InputRejected as error:
            if not error.most_texts or error.most_texts >= len(texts):
                raise
            most = error.most_texts
        except NodeFailed as error:
            if not alone or not no_room(error) or len(texts) == 1:
                raise
            most = (len(texts) + 1) // 2
        self.most_texts = most
        parts = [texts[at : at + most] for at in range(0, len(texts), most)]
        return self.joined([await self._in_parts(part, wanted, alone=alone) for part in parts])

    async def send(self, texts: Sequence[str], wanted: Wanted) -> Answer:
        """Embed texts in one request, and again without an encoding if the server may not know it."""
        # Another request may change it meanwhile.
        encoding = self._encoding
        try:
            return await self._send(texts, wanted)
        except (InputRejected, NodeFailed) as error:
            about_length = no_room(error) or (
                isinstance(error, InputRejected) and (error.too_long or error.most_texts)
            )
            untested = encoding is not None and not self._encoding_works
            if about_length or not untested or error.status not in (400, 422, 500):  # 500: LiteLLM
                raise
        # If the encoding is not the cause, this fails too, with the right error.
        self._encoding = None
        try:
            return await self._send(texts, wanted)
        except NodeError:
            self._encoding = encoding
            raise

    async def _send(self, texts: Sequence[str], wanted: Wanted) -> Answer:
        payload: dict[str, Any] = {"model": wanted.model, "input": list(texts)}
        if encoding := self._encoding:
            payload["encoding_format"] = encoding
        # `dimensions` is not sent: some servers ignore it and some refuse it, and a cut here gives the same vectors.
        timeout = max(wanted.end - asyncio.get_running_loop().time(), 0.001)
        limit = embedding_bounds(len(texts), None if wanted.cut_to else wanted.dimension).size
        body = await self._transport.call("embeddings", payload, timeout=timeout, limit=limit)
        answer = read_embeddings(
            body,
            texts,
            dimension=wanted.dimension,
            node=self._transport.node.name,
            disclosure=self._transport.disclosure,
            cut_to=wanted.cut_to,
        )
        self._encoding_works = self._encoding_works or encoding is not None
        return answer

    def joined(self, answers: Sequence[Answer]) -> Answer:
        """Return several answers as one; `NodeAnswerError` if their vectors differ in length."""
        if len(answers) == 1:
            return answers[0]
        if len({answer.vectors.shape[1] for answer in answers}) != 1:
            raise unusable(self._transport.node.name, "answered vectors of unequal length.")
        vectors = np.concatenate([answer.vectors for answer in answers])
        return Answer(vectors, sum(answer.tokens for answer in answers))
