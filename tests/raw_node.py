"""A node that answers each path with any bytes: for answers that no sound server gives."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

Reply = bytes | Iterator[bytes] | Callable[[bytes], "bytes | Iterator[bytes]"]
"""Bytes of a whole HTTP answer, pieces of one, or a function that makes either from the request's head and body."""


def answer(body: bytes | Any, status: int = 200, **headers: str) -> bytes:
    """One HTTP answer with its length; what is no bytes is written as JSON."""
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    fields = {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(data)),
        "Connection": "close",
    }
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + data


def chunked(pieces: Iterator[bytes], content_type: str = "application/x-ndjson") -> Iterator[bytes]:
    """An answer of pieces, which may have no end."""
    yield f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


class RawNode:
    """Listens on a free port of loopback; a connection takes one request.

    Args:
        replies: What each path is answered with; `*` stands for all others, which get a 404 without it.
    """

    def __init__(self, replies: Mapping[str, Reply]) -> None:
        self.replies = dict(replies)
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts; close alone does not
        self._listener.close()

    def __enter__(self) -> RawNode:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError), connection.makefile("rb") as stream:
            connection.settimeout(60)
            head = b""
            while (line := stream.readline()) != b"\r\n":
                if not line:  # it left, as one that only looks whether somebody listens
                    return
                head += line
            length = next(
                (
                    int(line.partition(b":")[2])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ),
                0,
            )
            body = stream.read(length)
            path = head.split(b" ", 2)[1].decode()
            self.asked.append(path)
            self.heads.append(head)
            reply = self.replies.get(path, self.replies.get("*", answer({"error": "404"}, 404)))
            made = reply(head + b"\r\n" + body) if callable(reply) else reply
            for piece in [made] if isinstance(made, bytes) else made:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
