"""Keeps web pages away from the node, and bounds what it reads.

A browser lets any page send requests to this host. It names the page in `Origin`; a page whose own name resolves to
this host (DNS rebinding) shows in `Host`. Ollama refuses both with an empty 403, and so does the node.
"""

from __future__ import annotations

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

# Bytes of one request. 8,192 texts of 4 KB, the most that a node's block allows in one, take this.
MOST_BODY: Final = 32 * 2**20

# Bytes of all requests that are read or served at the same time.
MOST_BODIES: Final = 256 * 2**20

# Seconds in which a request's body must arrive.
BODY_TIMEOUT_S: Final = 60.0


class Guard:
    """Refuses what a foreign web page sends, before anything of it is read.

    Args:
        app: What requests are passed on to.
        loopback: Whether the node listens on loopback only: then it also refuses a foreign Host header.
    """

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
    """Reads bodies of requests; all together they take no more than a bounded amount of memory."""

    def __init__(self) -> None:
        self._bytes = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body of a request, which counts as taken until the context ends.

        Raises:
            Refused: It is too large, too slow, or too much with those of the others.
        """
        length = request.headers.get("content-length", "")
        if length.isdigit() and (len(length) > 12 or int(length) > MOST_BODY):
            raise Refused(413, "http: request body too large")
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    async for piece in request.stream():
                        self._take(len(piece))
                        body += piece
                        if len(body) > MOST_BODY:
                            raise Refused(413, "http: request body too large")
            except TimeoutError:
                raise Refused(408, "request body did not arrive in time") from None
            yield bytes(body)
        finally:
            self._bytes -= len(body)

    def _take(self, size: int) -> None:
        if self._bytes + size > MOST_BODIES:
            # Ollama's words, with its two blanks, for a queue that is full.
            raise Refused(503, "server busy, please try again.  maximum pending requests exceeded")
        self._bytes += size


def _host_of(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        return parts.hostname or "" if parts.port is None or parts.port > 0 else None
    except ValueError:
        return None


def _is_own_page(origin: str) -> bool:
    """Whether an `Origin` is a page of this host, by Ollama's default list (envconfig, `AllowedOrigins`)."""
    host = _host_of(origin) if origin.startswith(("http://", "https://")) else None
    return host in ("localhost", "127.0.0.1", "0.0.0.0", "::1")


def _is_local(host: str | None) -> bool:
    """Whether a host is this one or in its private network, by Ollama's own rule (server/routes.go, `allowedHost`)."""
    if host is None:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        names = ("", "localhost", socket.gethostname().lower())
        return host.lower() in names or host.lower().endswith((".localhost", ".local", ".internal"))
    return address.is_loopback or address.is_private or address.is_unspecified
