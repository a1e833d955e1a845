"""Refuse requests of web pages, and limit the size of requests.

A browser lets any page send requests to this host. The header `Origin` names the page, and `Host` shows a page whose
name resolves to this host (DNS rebinding). Ollama refuses both with an empty 403, and so does the node.
"""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from prefect_ollama.blocks.embedded._request import Refused

# Bytes of one request: 8,192 texts, the most that a node's block allows, of 4 KB each.
MAX_BODY_BYTES: Final = 32 * 2**20

# Bytes of all requests that are read or served at the same time: eight of the largest.
MAX_BODIES_BYTES: Final = 256 * 2**20

# Seconds in which the body of a request must arrive, so that slow clients cannot keep memory for ever.
BODY_TIMEOUT_S: Final = 60.0


class Guard:
    """Refuses requests of foreign web pages before it reads their bodies; on `loopback` foreign Host headers, too."""

    def __init__(self, app: ASGIApp, *, loopback: bool) -> None:
        self._app = app
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 403."""
        if scope["type"] == "http" and not self._is_welcome(Request(scope)):
            await Response(status_code=403)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_welcome(self, request: Request) -> bool:
        origins = request.headers.getlist("origin")
        hosts = request.headers.getlist("host")
        if self._loopback and not (len(hosts) == 1 and _is_local(_host_of(f"http://{hosts[0]}"))):
            return False
        return all(_is_own_page(origin) for origin in origins)


class Bodies:
    """Reads bodies of requests, in at most `MAX_BODIES_BYTES` bytes of memory together."""

    def __init__(self) -> None:
        self._bytes = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the whole body of a request; its memory counts until the context ends.

        Raises `Refused` for a body that is too large or too slow, or for which no memory is left.
        """
        length = request.headers.get("content-length", "")
        if length.isdigit() and (len(length) > 12 or int(length) > MAX_BODY_BYTES):
            raise Refused(413, "http: request body too large")
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    async for piece in request.stream():
                        self._take(len(piece))
                        body += piece
                        if len(body) > MAX_BODY_BYTES:
                            raise Refused(413, "http: request body too large")
            except TimeoutError:
                raise Refused(408, "request body did not arrive in time") from None
            yield bytes(body)
        finally:
            self._bytes -= len(body)

    def _take(self, size: int) -> None:
        if self._bytes + size > MAX_BODIES_BYTES:
            # Ollama's message for a full queue, with its two spaces.
            raise Refused(503, "server busy, please try again.  maximum pending requests exceeded")
        self._bytes += size


def _host_of(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        return parts.hostname or "" if parts.port is None or parts.port > 0 else None
    except ValueError:
        return None


def _is_own_page(origin: str) -> bool:
    """Return whether an `Origin` is a page of this host, by Ollama's default list (envconfig, `AllowedOrigins`)."""
    host = _host_of(origin) if origin.startswith(("http://", "https://")) else None
    return host in ("localhost", "127.0.0.1", "0.0.0.0", "::1")


def _is_local(host: str | None) -> bool:
    """Return whether a host is local, by Ollama's rule (server/routes.go, `allowedHost`)."""
    if host is None:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        names = ("", "localhost", socket.gethostname().lower())
        return host.lower() in names or host.lower().endswith((".localhost", ".local", ".internal"))
    return address.is_loopback or address.is_private or address.is_unspecified
