"""The part of Ollama's HTTP API that an embedding model needs, for the one model `all-minilm`.

Answers, status codes and messages are those of Ollama, so its clients work unchanged. The answer to any other path
(pull, generate, `/v1`, …) is 404, as from Ollama for a path that it does not know.

One thread embeds requests in order (FIFO), while the event loop stays free. A request is served completely before the
next one. Before each text the thread checks whether its client still waits, so a client that disconnects costs at most
one text.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from prefect_ollama import __version__
from prefect_ollama.blocks.embedded._guard import Bodies, Guard
from prefect_ollama.blocks.embedded._model import DIGEST, DIMENSION, EmbeddingModel
from prefect_ollama.blocks.embedded._request import NAMES, EmbedRequest, Refused, parse_show
from prefect_ollama.blocks.embedded.tokens import CONTEXT

# Shows that this is not Ollama, and is a valid version by SemVer and by PEP 440.
VERSION = f"0.0.0+prefect-ollama.{__version__}"

# The fields of Ollama's description of a model, for clients that read them.
_DETAILS = {
    "parent_model": "",
    "format": "safetensors",
    "family": "bert",
    "families": ["bert"],
    "parameter_size": "23M",
    "quantization_level": "F32",
}


def create_app(model: EmbeddingModel, *, loopback: bool) -> Starlette:
    """Return the ASGI application of one node; on `loopback` it refuses foreign Host headers, too."""
    node = _Node(model)
    routes = [
        Route("/", node.root),
        Route("/api/embed", node.embed, methods=["POST"]),
        Route("/api/show", node.show, methods=["POST"]),
        Route("/api/tags", node.tags),
        Route("/api/ps", node.ps),
        Route("/api/version", node.version),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, loopback=loopback)],
        exception_handlers={Refused: _refused, HTTPException: _no_such_path},
        lifespan=node.lifespan,
    )


class _Node:
    """The handlers of the routes."""

    def __init__(self, model: EmbeddingModel) -> None:
        self._worker = EmbeddingWorker(model)
        self._bodies = Bodies()
        self._modified = datetime.fromtimestamp(model.modified, UTC).isoformat()
        self._entry = {
            "name": NAMES[1],
            "model": NAMES[1],
            "size": model.size,
            "digest": DIGEST,
            "details": _DETAILS,
        }

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self._worker.close()

    async def root(self, request: Request) -> Response:
        return PlainTextResponse("Ollama is running")

    async def version(self, request: Request) -> Response:
        return _json({"version": VERSION})

    async def tags(self, request: Request) -> Response:
        return _json({"models": [self._entry | {"modified_at": self._modified}]})

    async def ps(self, request: Request) -> Response:
        # The model stays in main memory while the node runs; `keep_alive` of a request has no effect.
        loaded = {"expires_at": "9999-12-31T23:59:59Z", "size_vram": 0, "context_length": CONTEXT}
        return _json({"models": [self._entry | loaded]})

    async def show(self, request: Request) -> Response:
        async with self._bodies.read(request) as raw:
            parse_show(raw)
        info = {
            "general.architecture": "bert",
            "general.basename": "all-MiniLM-L6-v2",
            "bert.embedding_length": DIMENSION,
            "bert.context_length": CONTEXT,
        }
        answer = {"license": "Apache-2.0", "details": _DETAILS, "model_info": info}
        return _json(answer | {"capabilities": ["embedding"], "modified_at": self._modified})

    async def embed(self, request: Request) -> Response:
        began = time.perf_counter_ns()
        async with self._bodies.read(request) as raw:
            asked = EmbedRequest.parse(raw)
            return await self._embed(request, asked, began)

    async def _embed(self, request: Request, asked: EmbedRequest, began: int) -> Response:
        if not asked.texts:
            return _json({"model": asked.model, "embeddings": []})
        parsed = time.perf_counter_ns()
        work = asyncio.ensure_future(self._worker.embed(asked))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise Refused(499, "request canceled")
            vectors, tokens = work.result()
        finally:
            gone.cancel()
            work.cancel()
        if not all(np.isfinite(vector).all() for vector in vectors):
            raise Refused(400, "embedding contains NaN or Inf values")
        answer = {
            "model": asked.model,
            "embeddings": vectors,
            "total_duration": time.perf_counter_ns() - began,
            # The model was loaded before the node listened. Ollama never sends 0 here.
            "load_duration": parsed - began,
            "prompt_eval_count": tokens,
        }
        return _json(answer)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    response = _json({"error": str(error)}, error.status)
    if error.status in (408, 413):
        response.headers["connection"] = "close"  # without this the rest of the body would be read
    return response


async def _no_such_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = (
        "404 page not found" if error.status_code == 404 else f"{error.status_code} {error.detail.lower()}"
    )
    return PlainTextResponse(words, error.status_code, error.headers)


def _json(value: Any, status: int = 200) -> Response:
    # A float32 becomes the shortest text from which the same float32 can be read.
    content = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, status, media_type="application/json; charset=utf-8")


T = TypeVar("T")


class EmbeddingWorker:
    """Runs a loaded model for many requests, one text at a time. No other code may run the model."""

    def __init__(self, model: EmbeddingModel) -> None:
        self._model = model
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embed")
        self._closing = threading.Event()

    async def embed(self, request: EmbedRequest) -> tuple[list[npt.NDArray[np.float32]], int]:
        """Return the vectors of one request's texts, float32 of norm 1, and their tokens after cuts.

        Cancelling this also cancels the remaining texts.

        Raises:
            Refused: A text is longer than the context, and the request forbids to cut it.
        """
        unwanted = threading.Event()

        def work() -> tuple[list[npt.NDArray[np.float32]], int]:
            # All texts are encoded first, so that a request with a text that is too long costs no forward pass.
            ids = [self._encode(text, request) for text in self._while_wanted(request.texts, unwanted)]
            vectors = [self._model.embed(each) for each in self._while_wanted(ids, unwanted)]
            return [_cut(each, request.dimension) for each in vectors], sum(map(len, ids))

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            unwanted.set()

    def close(self) -> None:
        """Stop after the present text, and drop the queue."""
        self._closing.set()
        self._thread.shutdown(cancel_futures=True)

    def _while_wanted(self, items: list[T], unwanted: threading.Event) -> Iterator[T]:
        for item in items:
            if unwanted.is_set() or self._closing.is_set():
                raise CancelledError
            yield item

    def _encode(self, text: str, request: EmbedRequest) -> list[int]:
        ids = self._model.tokenizer.encode(text)
        if len(ids) <= request.context:
            return ids
        if not request.truncate:
            raise Refused(400, "the input length exceeds the context length")
        return [*ids[: request.context - 1], ids[-1]]


def _cut(vector: npt.NDArray[np.float32], dimension: int) -> npt.NDArray[np.float32]:
    if dimension == len(vector):
        return vector
    part = vector[:dimension]
    return part / np.linalg.norm(part)
