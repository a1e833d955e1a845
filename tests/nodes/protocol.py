"""HTTP/1.1 as lean as it goes: keep-alive, pipelining, bodies by length or in chunks, one exchange at a time.

No framework, so that a node costs its client's benchmark next to nothing, and so that a fault can put any
bytes on the wire.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import orjson

JSON = "application/json; charset=utf-8"
PLAIN_JSON = "application/json"
NDJSON = "application/x-ndjson"
TEXT = "text/plain; charset=utf-8"
PLAIN = "text/plain"
WITH_LENGTH = 2048
"""Bytes up to which Go's server gives a body's length; longer ones it sends in chunks."""

HEAD_LIMIT = 65536
REASONS = {status.value: status.phrase for status in HTTPStatus}


def head_of(
    status: int, length: int | None, content_type: str, headers: Iterable[tuple[str, str]] = ()
) -> bytes:
    """A response head; length None is a chunked body."""
    body = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    more = "".join(f"{name}: {value}\r\n" for name, value in headers)
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    return f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}\r\n{kind}{body}\r\n{more}\r\n".encode()


class Exchange:
    """One request and the ways to answer it. `gone` is called if the client leaves before the answer ends."""

    __slots__ = ("_closing", "arrived", "body", "connection", "gone", "headers", "method", "path", "query")

    def __init__(self, connection: Connection, head: bytes) -> None:
        """Read a request head; the body follows.

        Raises:
            ValueError: when it is not HTTP.
        """
        lines = head.split(b"\r\n")
        method, target, version = lines[0].decode("latin-1").split(" ")
        self.connection = connection
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.decode("latin-1").partition(":")
            self.headers[name.lower()] = value.strip()
        self.body = b""
        self.arrived = 0.0
        self.gone: Callable[[], None] | None = None
        wish = self.headers.get("connection", "").lower()
        self._closing = wish == "close" or (version == "HTTP/1.0" and wish != "keep-alive")

    @property
    def open(self) -> bool:
        """Whether the client still waits for this answer."""
        return self.connection.exchange is self

    def reply(
        self, status: int, *parts: bytes, content_type: str = JSON, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Send a whole answer, with its length or in a chunk as Go's server does."""
        size = sum(map(len, parts))
        if size > WITH_LENGTH:
            self.reply_chunks([b"".join(parts)], content_type, status, headers)
            return
        head = head_of(status, size, content_type, headers)
        self.write(head if self.method == "HEAD" else b"".join((head, *parts)))
        self.finish()

    def reply_chunks(
        self,
        chunks: Iterable[bytes],
        content_type: str,
        status: int = 200,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Send a whole answer in chunks."""
        framed = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks]
        self.write(b"".join((head_of(status, None, content_type, headers), *framed, b"0\r\n\r\n")))
        self.finish()

    def reply_json(self, value: Any, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Send a value as JSON."""
        self.reply(status, orjson.dumps(value), headers=headers)

    def error(self, status: int, message: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Send an error in Ollama's shape."""
        self.reply_json({"error": message}, status, headers)

    def write(self, data: bytes) -> None:
        """Put bytes on the wire."""
        self.connection.transport.write(data)

    def write_chunk(self, data: bytes) -> None:
        """Put one chunk of a chunked body on the wire; an empty one ends it."""
        self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def finish(self) -> None:
        """The answer is whole: the connection may take its next request."""
        self.gone = None
        self.connection.exchange = None
        if self._closing:
            self.connection.transport.close()
        else:
            self.connection.advance()

    def close(self) -> None:
        """Close the connection once what was written is sent (FIN), answered or not."""
        self.gone = None
        self.connection.transport.close()

    def reset(self) -> None:
        """Break the connection with a TCP reset; what was not read yet is lost."""
        self.gone = None
        sock: socket.socket = self.connection.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.transport.abort()


class Site:
    """What all connections of one listening socket have in common."""

    def __init__(self, handle: Callable[[Exchange], None]) -> None:
        """Every request goes to `handle`."""
        self.handle = handle
        self.connections: set[Connection] = set()
        self.opened = 0
        self.idle_timeout: float | None = None
        self.closed = False

    def __call__(self) -> Connection:
        """A new connection: the protocol factory."""
        return Connection(self)

    def abort(self) -> None:
        """Break all connections, as when the process dies, and those that are being opened."""
        self.closed = True
        for connection in list(self.connections):
            connection.transport.abort()


class Connection(asyncio.Protocol):
    """One client connection."""

    transport: asyncio.Transport

    def __init__(self, site: Site) -> None:
        """Belongs to a site."""
        self.site = site
        self.exchange: Exchange | None = None
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._partial: Exchange | None = None
        self._advancing = False
        self._idle: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.site.closed:
            transport.abort()
            return
        self.site.connections.add(self)
        self.site.opened += 1
        self._wait_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has left, perhaps in the middle of its request's service."""
        self.site.connections.discard(self)
        self._writable.set()
        self._stop_idle()
        exchange, self.exchange = self.exchange, None
        if exchange is not None and exchange.gone is not None:
            exchange.gone()

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    async def drained(self) -> None:
        """Wait until more may be written (or the connection is gone)."""
        await self._writable.wait()

    def data_received(self, data: bytes) -> None:
        """Bytes have come: parts of requests, or several."""
        self._buffer += data
        self._stop_idle()
        self.advance()

    def advance(self) -> None:
        """Take the next whole request, unless one is being answered."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self.exchange is None and not self.transport.is_closing():
                exchange = self._next()
                if exchange is None:
                    break
                self.exchange = exchange
                exchange.arrived = self._loop.time()
                self.site.handle(exchange)
        finally:
            self._advancing = False
        if self.exchange is None and not self._buffer:
            self._wait_idle()

    def _next(self) -> Exchange | None:
        if self._partial is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > HEAD_LIMIT:
                    self._refuse()
                return None
            try:
                self._partial = Exchange(self, bytes(self._buffer[:end]))
            except ValueError:
                self._refuse()
                return None
            del self._buffer[: end + 4]
            if self._partial.headers.get("expect", "").lower() == "100-continue":
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        exchange = self._partial
        try:
            if "chunked" in exchange.headers.get("transfer-encoding", "").lower():
                whole = self._take_chunks(exchange)
            else:
                whole = self._take(exchange, int(exchange.headers.get("content-length") or 0))
        except ValueError:
            self._refuse()
            return None
        if not whole:
            return None
        self._partial = None
        return exchange

    def _take(self, exchange: Exchange, length: int) -> bool:
        if len(self._buffer) < length:
            return False
        exchange.body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return True

    def _take_chunks(self, exchange: Exchange) -> bool:
        while (end := self._buffer.find(b"\r\n")) >= 0:
            length = int(bytes(self._buffer[:end]).partition(b";")[0], 16)
            if len(self._buffer) < end + 2 + length + 2:
                return False
            exchange.body += self._buffer[end + 2 : end + 2 + length]
            del self._buffer[: end + 2 + length + 2]
            if length == 0:
                return True
        return False

    def _refuse(self) -> None:
        self.transport.write(head_of(400, 0, TEXT, [("Connection", "close")]))
        self.transport.close()

    def _wait_idle(self) -> None:
        if self.site.idle_timeout is not None and self._idle is None:
            self._idle = self._loop.call_later(self.site.idle_timeout, self.transport.close)

    def _stop_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
