"""One persistent HTTP client for one node: whole, checked answers or an error that says whose fault it is.

Connections are kept alive and reused; the bodies are bounded; every call has a deadline over all of it,
because a node that drips a byte a second would never trip a read time-out.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from prefect_ollama.blocks.errors import (
    ConfigurationError,
    NodeAnswerError,
    NodeError,
    NodeFailed,
    NodeUnreachable,
)
from prefect_ollama.blocks.sealed import harmless, hidden, hide
from prefect_ollama.blocks.wire import faults
from prefect_ollama.blocks.wire.answer import Answer, read_answer
from prefect_ollama.blocks.wire.loop_lag import timeout_while_running
from prefect_ollama.blocks.wire.spec import ModelSpec, NodeSpec

PULL_SILENCE = 300.0
"""Seconds a pull may go without a word before it is given up."""

SMALL_BODY = 8 * 1024 * 1024
BODY_PER_TEXT = 8192 * 32
"""Bytes: 8192 dimensions of at most 32 characters are more than any model's vector takes."""


class NodeClient:
    """Speaks with one node. Use it in one event loop, and close it there.

    Args:
        node: The node.
        model: The model that all calls are about.
    """

    def __init__(self, node: NodeSpec, model: ModelSpec) -> None:
        self.node = node
        self.model = model
        self._http = httpx.AsyncClient(
            base_url=node.url.rstrip("/") + "/",
            headers={"user-agent": "prefect-ollama", **{k: v.get_secret_value() for k, v in node.headers}},
            auth=_basic(node),
            verify=_tls(node),
            timeout=httpx.Timeout(None, connect=node.connect_timeout),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=None),
            follow_redirects=False,
        )

    async def embed(self, texts: Sequence[str], *, timeout: float, dimension: int | None = None) -> Answer:
        """Embed a list of texts in one request.

        Args:
            texts: The texts, prompt prefix included; at least one.
            timeout: Seconds until the whole answer must be there.
            dimension: Expected length of the vectors, where it is known.

        Raises:
            NodeError: One of its kinds, see `prefect_ollama.blocks.errors`.
        """
        payload: dict[str, Any] = {
            "model": self.model.name,
            "input": list(texts),
            "truncate": False,
            "keep_alive": self.model.keep_alive,
        }
        if self.model.options:
            payload["options"] = self.model.options
        if self.model.dimensions:
            payload["dimensions"] = self.model.dimensions
        limit = SMALL_BODY + len(texts) * BODY_PER_TEXT
        body = await self._call("POST", "api/embed", payload, timeout=timeout, limit=limit)
        return read_answer(body, count=len(texts), dimension=dimension, node=self.node.name)

    async def version(self) -> str:
        """The version that the node gives of itself."""
        return hidden(str((await self._json("GET", "api/version")).get("version", "")))

    async def models(self, *, timeout: float = 30.0) -> dict[str, str]:
        """Name to digest (bare sha256) of every model that the node has."""
        found = (await self._json("GET", "api/tags", timeout=timeout)).get("models") or []
        return {
            str(m.get("name") or m.get("model")): str(m.get("digest", ""))
            for m in found
            if isinstance(m, dict)
        }

    async def loaded(self) -> list[dict[str, Any]]:
        """The models in memory, as `/api/ps` gives them (`size_vram`, `expires_at`, …)."""
        return list((await self._json("GET", "api/ps")).get("models") or [])

    async def show(self) -> dict[str, Any]:
        """What the node knows of the model (`capabilities`, `model_info`)."""
        return await self._json("POST", "api/show", {"model": self.model.name})

    async def pull(self, progress: Callable[[str, int, int], None] | None = None) -> None:
        """Let the node download the model.

        Args:
            progress: Called with what it does now, bytes done and bytes in all (0 where unknown).

        Raises:
            NodeError: The download failed; the node keeps what it had before.
        """
        payload = {"model": self.model.name, "stream": True}
        done = False
        async with self._open("POST", "api/pull", payload) as response:
            lines = response.aiter_lines()
            while True:
                try:
                    line = await asyncio.wait_for(anext(lines, None), PULL_SILENCE)
                except TimeoutError as error:
                    raise faults.from_exception(self.node.name, error) from None
                if line is None:
                    break
                if not line.strip():
                    continue
                event = self._object(line.encode())
                if "error" in event:
                    raise NodeFailed(
                        f"could not pull {self.model.name!r} ({hidden(str(event['error']))}).",
                        node=self.node.name,
                        remedy="Check the model's name and the node's way to its registry.",
                    )
                status = hidden(str(event.get("status", "")))
                done = done or status == "success"
                if progress:
                    progress(status, int(event.get("completed") or 0), int(event.get("total") or 0))
        if not done:
            raise NodeFailed(
                f"broke off while pulling {self.model.name!r}.", node=self.node.name, remedy="Try again."
            )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _json(
        self, method: str, path: str, payload: dict[str, Any] | None = None, *, timeout: float = 30.0
    ) -> dict[str, Any]:
        timeout = min(timeout, self.node.read_timeout)
        return self._object(await self._call(method, path, payload, timeout=timeout, limit=SMALL_BODY))

    def _object(self, body: bytes) -> dict[str, Any]:
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError:
            data = None
        if not isinstance(data, dict):
            raise NodeAnswerError(
                f"answered something that is not Ollama's: {faults.start_of(body)!r}.",
                node=self.node.name,
                status=200,
                remedy="Check the node's URL and path prefix.",
            )
        return data

    async def _call(
        self, method: str, path: str, payload: dict[str, Any] | None, *, timeout: float, limit: int
    ) -> bytes:
        try:
            async with timeout_while_running(timeout), self._open(method, path, payload) as response:
                parts: list[bytes] = []
                size = 0
                async for part in response.aiter_bytes():
                    parts.append(part)
                    size += len(part)
                    if size > limit:
                        raise NodeAnswerError(
                            f"answered more than {limit // 2**20} MiB.", node=self.node.name, status=200
                        )
                return b"".join(parts)
        except TimeoutError as error:
            raise NodeUnreachable(
                f"did not give a whole answer within {timeout:.3g} s.",
                node=self.node.name,
                silent=True,
                remedy="Check that it works on the request, or raise its time-outs.",
            ) from error

    @asynccontextmanager
    async def _open(
        self, method: str, path: str, payload: dict[str, Any] | None
    ) -> AsyncIterator[httpx.Response]:
        """An answer with status 200, its body still to be read."""
        content = None if payload is None else orjson.dumps(payload)
        headers = {} if payload is None else {"content-type": "application/json"}
        try:
            async with self._http.stream(method, path, content=content, headers=headers) as response:
                if response.status_code != 200:
                    async for part in response.aiter_bytes(65536):
                        body = part
                        break
                    else:
                        body = b""
                    raise faults.from_response(
                        self.node.name, response.status_code, response.headers, body, model=self.model.name
                    )
                yield response
        except (NodeError, TimeoutError):
            raise
        except Exception as error:  # the library lets some of the socket's through, as for a port above 65535
            raise faults.from_exception(self.node.name, error) from harmless(error)


def _basic(node: NodeSpec) -> tuple[str, str] | None:
    if not node.username:
        return None
    password = node.password.get_secret_value() if node.password else ""
    if password:
        hide(b64encode(f"{node.username}:{password}".encode()).decode())  # as it is sent
    return node.username, password


def _tls(node: NodeSpec) -> ssl.SSLContext | bool:
    if not node.url.startswith("https"):
        # A context costs some 20 ms and no plain connection needs one.
        return False
    if not node.verify or not node.ca_bundle:
        return node.verify
    try:
        return ssl.create_default_context(cafile=node.ca_bundle)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"The CA bundle {node.ca_bundle!r} of node {node.name!r} cannot be read ({error}).",
            remedy="Name a PEM file.",
        ) from error
