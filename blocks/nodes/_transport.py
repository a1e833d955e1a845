"""One persistent HTTP client for one node. A request returns a complete body, or raises an error that names its cause.

Guarantees: connections are reused; bodies are limited and never decompressed; redirects are refused; the proxy is the
one that the environment names for the node. A time limit covers a whole call, because a node that sends a byte a second
would never reach a read time-out. All limits count the time in which this process ran: see `loop_lag`.
"""

import math
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import orjson

from prefect_ollama.blocks.errors import ConfigurationError, NodeError, NodeUnreachable
from prefect_ollama.blocks.nodes import _errors as errors
from prefect_ollama.blocks.nodes._body import Bounds, parse, read_body, read_error, unusable
from prefect_ollama.blocks.nodes._connection_errors import from_exception
from prefect_ollama.blocks.nodes._dialects import Dialect
from prefect_ollama.blocks.nodes._disclosure import Disclosure
from prefect_ollama.blocks.nodes.loop_lag import timeout_while_running
from prefect_ollama.blocks.nodes.proxy import proxy_of
from prefect_ollama.blocks.nodes.spec import NodeSpec
from prefect_ollama.blocks.secrets import remember_to_hide, safe_cause


class Transport:
    """Sends requests to one node. Use it in one event loop, and close it there.

    Raises:
        ConfigurationError: The CA bundle, or the proxy that the environment names, cannot be used.
    """

    def __init__(self, node: NodeSpec, dialect: Dialect, model: str) -> None:
        self.node = node
        self.disclosure = Disclosure.of(node)
        self._dialect = dialect
        self._model = model
        self._proxy = proxy_of(node.url)
        # With an explicit transport, httpx takes no proxy from the environment. `proxy_of` has chosen one.
        transport = httpx.AsyncHTTPTransport(
            verify=_tls(node),
            # Callers limit their requests (`max_in_flight`), and connections stay open: a new one costs a round trip.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=None),
            proxy=_proxy(self._proxy.url) if self._proxy else None,
        )
        self._http = httpx.AsyncClient(
            base_url=node.url.rstrip("/") + "/",
            headers=_headers(node),
            auth=_basic(node),
            transport=transport,
            timeout=None,  # see `_limit_connect` and `call`
            follow_redirects=False,
        )

    async def object(
        self, path: str, bounds: Bounds, payload: dict[str, Any] | None = None, *, timeout: float
    ) -> dict[str, Any]:
        """Return the JSON object of an answer, or raise the `NodeError` with the cause; see `call`."""
        timeout = min(timeout, self.node.read_timeout)
        body = await self.call(path, payload, timeout=timeout, limit=bounds.size)
        try:
            data = parse(body, bounds)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            start = errors.start_of(body, self.disclosure)
            remedy = "Check the node's URL and path prefix."
            if self._proxy:
                remedy += f" It was asked through {self._proxy.words}. {self._proxy.remedy}"
            raise unusable(
                self.node.name, f"answered something that is not {self._dialect.api}'s{start}.", remedy
            )
        return data

    async def call(self, path: str, payload: dict[str, Any] | None, *, timeout: float, limit: int) -> bytes:
        """Return the body of an answer.

        Args:
            path: Path below the node's URL, or a whole URL.
            payload: JSON object to POST; None for a GET.
            timeout: Seconds for the whole answer.
            limit: Highest number of bytes.

        Raises:
            NodeError: There is no complete answer within `timeout` seconds, or it has another status than 200, or it is
                an error under status 200.
        """
        try:
            with without_context():
                async with timeout_while_running(timeout), self.open(path, payload) as response:
                    body = await read_body(response, limit, self.node.name)
            if payload is not None and (status := errors.status_of_error(body)):
                raise self._refusal(status, response.headers, body)
            return body
        except TimeoutError as error:
            raise NodeUnreachable(
                f"did not give a whole answer within {timeout:.3g} s.",
                node=self.node.name,
                silent=True,
                remedy="Check whether it works on the request, or raise the timeouts in its block.",
            ) from error

    @asynccontextmanager
    async def open(self, path: str, payload: dict[str, Any] | None) -> AsyncIterator[httpx.Response]:
        """Yield an answer with status 200 before its body is read; see `call`."""
        method, content = ("GET", None) if payload is None else ("POST", orjson.dumps(payload))
        headers = {} if payload is None else {"content-type": "application/json"}
        try:
            async with (
                _limit_connect(self.node.connect_timeout) as trace,
                self._http.stream(
                    method, path, content=content, headers=headers, extensions={"trace": trace}
                ) as response,
            ):
                if response.status_code != 200:
                    body = await read_error(response, self.node.name)
                    raise self._refusal(response.status_code, response.headers, body)
                yield response
        except (NodeError, TimeoutError):
            raise
        except Exception as error:  # httpx does not wrap some errors of sockets, as for a port above 65535
            # A traceback shows the cause's text, and that may quote what the node or a proxy sent.
            quoted = isinstance(error, httpx.ProtocolError | httpx.ProxyError) or self.disclosure.secrets
            cause = None if quoted else safe_cause(error)
            raise from_exception(self.node.name, error, proxy=self._proxy) from cause

    def _refusal(self, status: int, headers: httpx.Headers, body: bytes) -> NodeError:
        return errors.from_response(
            self.node.name,
            status,
            headers,
            body,
            model=self._model,
            dialect=self._dialect,
            disclosure=self.disclosure,
            proxy=self._proxy,
        )

    async def aclose(self) -> None:
        await self._http.aclose()


@contextmanager
def without_context() -> Iterator[None]:
    """Remove the context of errors, because errors of the HTTP library hold bytes that the node sent.

    No traceback shows it, but pickles contain it, and errors are sent to other processes.
    """
    try:
        yield
    except NodeError as error:
        error.__context__ = None
        raise


@asynccontextmanager
async def _limit_connect(seconds: float) -> AsyncIterator[Callable[[str, dict[str, Any]], Awaitable[None]]]:
    """Limit the connection, and the handshake of TLS, to so many seconds each.

    The HTTP library's own limit would also count time in which this process waited for a core, and then report a
    healthy node as one that cannot be connected.

    Yields:
        The `trace` extension of the request (https://www.encode.io/httpcore/extensions/#trace): the library calls it at
        the begin and the end of each step.

    Raises:
        httpx.ConnectTimeout: One of the two took longer.
    """
    connecting = False
    stream: Any = None

    async def trace(event: str, info: dict[str, Any]) -> None:
        nonlocal connecting, stream
        _, step, state = event.split(".")
        if step in ("connect_tcp", "start_tls"):
            # A step that the limit ends fails, so only its success says that it is over.
            connecting = state != "complete"
            stream = stream if connecting else info["return_value"]
            restart(seconds if state == "started" else math.inf)

    try:
        async with timeout_while_running(math.inf) as restart:
            yield trace
    except BaseException as error:
        if connecting and stream is not None:
            # The library leaves the connection open when a handshake of TLS is cancelled.
            await stream.aclose()
        if connecting and isinstance(error, TimeoutError):
            raise httpx.ConnectTimeout("") from error
        raise


def _headers(node: NodeSpec) -> dict[str, str]:
    given = {name.lower(): value.get_secret_value() for name, value in node.headers}
    # This encoding comes last, so that no header of the node's block replaces it.
    return {"user-agent": "prefect-ollama", **given, "accept-encoding": "identity"}


def _proxy(url: str) -> httpx.Proxy:
    try:
        return httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise ConfigurationError("The proxy of the environment has no usable URL.") from safe_cause(error)


def _basic(node: NodeSpec) -> tuple[str, str] | None:
    if not node.username:
        return None
    password = node.password.get_secret_value() if node.password else ""
    if password:
        remember_to_hide(b64encode(f"{node.username}:{password}".encode()).decode())  # as it is sent
    return node.username, password


def _tls(node: NodeSpec) -> ssl.SSLContext | bool:
    if not node.url.startswith("https"):
        # A TLS context costs some 20 ms, and plain connections do not need it.
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
