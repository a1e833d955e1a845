"""One persistent HTTP client for one node: whole, checked answers or an error that says whose fault it is.

Connections are kept alive and reused; the bodies are bounded; every call has a deadline over all of it,
because a node that drips a byte a second would never trip a read time-out.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import orjson

from prefect_ollama.blocks.errors import (
    ConfigurationError,
    NodeAnswerError,
    NodeError,
    NodeFailed,
    NodeUnreachable,
)
from prefect_ollama.blocks.sealed import harmless, hide
from prefect_ollama.blocks.wire import faults
from prefect_ollama.blocks.wire.answer import Answer, read_answer
from prefect_ollama.blocks.wire.body import read_body, read_error
from prefect_ollama.blocks.wire.disclosure import Disclosure
from prefect_ollama.blocks.wire.loop_lag import timeout_while_running
from prefect_ollama.blocks.wire.model_info import ModelInfo, read_model_info, read_models, read_version
from prefect_ollama.blocks.wire.payload import (
    LIST_BOUNDS,
    SHOW_BOUNDS,
    VERSION_BOUNDS,
    Bounds,
    checked,
    embed_bounds,
    member,
    parse,
)
from prefect_ollama.blocks.wire.proxy import proxy_of
from prefect_ollama.blocks.wire.pull import PullStep, pull_lines, read_step
from prefect_ollama.blocks.wire.spec import ModelSpec, NodeSpec

PULL_SILENCE = 300.0
"""Seconds that a pull may go without progress before it is given up."""

PULL_TIMEOUT = 24 * 3600.0
"""Seconds that a pull may take in all."""

_TOKENS_A_BYTE = 2
_TOKENS_A_TEXT = 64
"""A tokenizer makes at most one token of a byte; models add a few at the ends of a text."""


T = TypeVar("T")


class NodeClient:
    """Speaks with one node. Use it in one event loop, and close it there.

    Args:
        node: The node.
        model: The model that all calls are about.
    """

    def __init__(self, node: NodeSpec, model: ModelSpec) -> None:
        self.node = node
        self.model = model
        self.disclosure = Disclosure.of(node)
        self._proxy = proxy_of(node.url)
        self._host = urlsplit(node.url).hostname or ""
        # With a transport of its own the client takes no proxy from the environment: `proxy_of` has chosen.
        transport = httpx.AsyncHTTPTransport(
            verify=_tls(node),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=None),
            proxy=_proxy(self._proxy.url) if self._proxy else None,
        )
        self._http = httpx.AsyncClient(
            base_url=node.url.rstrip("/") + "/",
            headers=_headers(node),
            auth=_basic(node),
            transport=transport,
            timeout=httpx.Timeout(None, connect=node.connect_timeout),
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
        limit = embed_bounds(len(texts), dimension).size
        body = await self._call("POST", "api/embed", payload, timeout=timeout, limit=limit)
        return read_answer(
            body,
            count=len(texts),
            dimension=dimension,
            node=self.node.name,
            disclosure=self.disclosure,
            most_tokens=sum(_TOKENS_A_BYTE * 4 * len(text) + _TOKENS_A_TEXT for text in texts),
        )

    async def version(self, *, timeout: float = 30.0) -> str:
        """The version that the node gives, empty where it gives none."""
        data = await self._object("GET", "api/version", VERSION_BOUNDS, timeout=timeout)
        return self.disclosure.version(self._checked(read_version, data, "/api/version"))

    async def models(self, *, timeout: float = 30.0) -> dict[str, str]:
        """Name to digest (bare sha256) of every model that the node has; see `disclosure.names` to show them."""
        data = await self._object("GET", "api/tags", LIST_BOUNDS, timeout=timeout)
        return self._checked(read_models, data, "/api/tags")

    async def loaded(self) -> list[dict[str, Any]]:
        """The models in memory, as `/api/ps` gives them (`size_vram`, `expires_at`, …)."""
        data = await self._object("GET", "api/ps", LIST_BOUNDS)
        return self._checked(_loaded, data, "/api/ps")

    async def show(self) -> ModelInfo:
        """What the node says about the model."""
        data = await self._object("POST", "api/show", SHOW_BOUNDS, {"model": self.model.name})
        return self._checked(read_model_info, data, "/api/show")

    async def pull(self, progress: Callable[[str, int, int], None] | None = None) -> None:
        """Let the node download the model.

        Args:
            progress: Called with what it does now, bytes done and bytes in all (0 where unknown).

        Raises:
            NodeError: The download failed, or made no progress for five minutes; the node keeps what it had
                before.
        """
        payload = {"model": self.model.name, "stream": True}
        done = False
        last: PullStep | None = None
        loop = asyncio.get_running_loop()
        end = loop.time() + PULL_TIMEOUT
        try:
            with _alone():
                async with (
                    asyncio.timeout(PULL_SILENCE) as silence,
                    self._open("POST", "api/pull", payload) as response,
                ):
                    async for line in pull_lines(response, self.node.name):
                        step = read_step(
                            line, node=self.node.name, model=self.model.name, disclosure=self.disclosure
                        )
                        if step != last:
                            silence.reschedule(min(loop.time() + PULL_SILENCE, end))
                            last = step
                        done = done or step.what == "success"
                        if progress:
                            progress(step.what, step.done, step.total)
        except TimeoutError:
            raise NodeUnreachable(
                f"made no progress while it pulled {self.model.name!r}.",
                node=self.node.name,
                remedy=f"Run 'ollama pull {self.model.name}' there, then run again.",
            ) from None
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

    async def _object(
        self,
        method: str,
        path: str,
        bounds: Bounds,
        payload: dict[str, Any] | None = None,
        *,
        timeout: float = 30.0,
    ) -> dict[str, Any]:
        timeout = min(timeout, self.node.read_timeout)
        body = await self._call(method, path, payload, timeout=timeout, limit=bounds.size)
        try:
            data = parse(body, bounds)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            start = faults.start_of(body, self.disclosure)
            remedy = "Check the node's URL and path prefix."
            if self._proxy:
                remedy += f" It was asked through {self._proxy.words}. {self._proxy.remedy(self._host)}"
            raise NodeAnswerError(
                f"answered something that is not Ollama's{start}.",
                node=self.node.name,
                status=200,
                remedy=remedy,
            )
        return data

    def _checked(self, read: Callable[[Any], T], data: dict[str, Any], call: str) -> T:
        return checked(read, data, node=self.node.name, call=call)

    async def _call(
        self, method: str, path: str, payload: dict[str, Any] | None, *, timeout: float, limit: int
    ) -> bytes:
        try:
            with _alone():
                async with timeout_while_running(timeout), self._open(method, path, payload) as response:
                    return await read_body(response, limit, self.node.name)
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
                    raise faults.from_response(
                        self.node.name,
                        response.status_code,
                        response.headers,
                        await read_error(response, self.node.name),
                        model=self.model.name,
                        disclosure=self.disclosure,
                        proxy=self._proxy,
                        host=self._host,
                    )
                yield response
        except (NodeError, TimeoutError):
            raise
        except Exception as error:  # the library lets some of the socket's through, as for a port above 65535
            # A traceback shows the cause's text, and that may quote what the node or a proxy sent.
            quoted = isinstance(error, httpx.ProtocolError | httpx.ProxyError) or self.disclosure.secrets
            cause = None if quoted else harmless(error)
            raise faults.from_exception(self.node.name, error, proxy=self._proxy, host=self._host) from cause


@contextmanager
def _alone() -> Iterator[None]:
    """Take from an error what it was raised within: the HTTP library's errors hold bytes that the node sent.

    A traceback would not show it, but pickles hold it, and errors cross processes.
    """
    try:
        yield
    except NodeError as error:
        error.__context__ = None
        raise


def _headers(node: NodeSpec) -> dict[str, str]:
    given = {name.lower(): value.get_secret_value() for name, value in node.headers}
    # Ours come last: what nobody asked for is refused.
    return {"user-agent": "prefect-ollama", **given, "accept-encoding": "identity"}


def _loaded(data: dict[str, Any]) -> list[dict[str, Any]]:
    entries = member(data, "models", list, [])
    return [entry for entry in entries if type(entry) is dict]


def _proxy(url: str) -> httpx.Proxy:
    try:
        return httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise ConfigurationError("The proxy of the environment has no usable URL.") from harmless(error)


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
