"""What a parser and its child process say to each other, a line at a time.

A line from the child is `kind page width height body`, the body being JSON and the page counted from 0. A line
from the parent is one JSON object. Whatever a hostile file makes of the child, what it says is only data.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import Any, BinaryIO, Final, NamedTuple

import orjson

# From the child.
READY: Final = b"READY"  # imported and waiting
OPENED: Final = b"OPENED"  # page count, metadata, outline
PAGE: Final = b"PAGE"  # structured text of a page, as MuPDF prints it
PICTURES: Final = b"PICTURES"  # the same, with the places of images
TABLES: Final = b"TABLES"  # the same, with the tables that MuPDF found
OCR: Final = b"OCR"  # the same, read from a picture of the page
PAGE_FAILED: Final = b"PAGE_FAILED"  # kind, message
LOOKED: Final = b"LOOKED"  # all that was asked for has been sent; waits for the next request
FAILED: Final = b"FAILED"  # the whole file: kind, message
DONE: Final = b"DONE"  # CPU seconds, memory

# A line that holds no page.
SHORT: Final = 2**24
# The structured text of one page: some hundred thousand lines. Decoded it takes ten times as much.
LONGEST_PAGE: Final = 2**25


# The most that an unprivileged process may ask of Linux for a pipe: some hundred pages.
PIPE_BYTES: Final = 2**20
_PATIENCE: Final = 0.02

# Exit status of a child that had not even the memory left to say so.
OUT_OF_MEMORY: Final = 77


class ProtocolError(Exception):
    """A line is longer than allowed, broken off, or no line of this protocol."""


class Line(NamedTuple):
    """One line from the child; width and height of the page in points."""

    kind: bytes
    page: int
    width: float
    height: float
    body: bytes

    def json(self) -> Any:
        """Decode the body.

        Raises:
            ProtocolError: It is no JSON, as when the child failed while it printed a page.
        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            pass
        try:  # MuPDF prints lone surrogates where a font's character map holds some.
            return orjson.loads(self.body.decode("utf-8", "replace"))
        except orjson.JSONDecodeError as error:
            raise ProtocolError(f"the body of {self.kind!r} is no JSON: {error}") from error


def head(kind: bytes, page: int = 0, width: float = 0.0, height: float = 0.0) -> bytes:
    """Give the beginning of a line, up to its body."""
    return b"%b %d %.1f %.1f " % (kind, page, width, height)


def parse_line(line: bytes) -> Line:
    """Take a line apart.

    Raises:
        ProtocolError: It is none of this protocol.
    """
    try:
        kind, page, width, height, body = line.split(b" ", 4)
        return Line(kind, int(page), float(width), float(height), body)
    except ValueError as error:
        raise ProtocolError(f"no line of the protocol: {line[:80]!r}") from error


class LineReader:
    """Reads lines from a pipe, many at a time.

    Attributes:
        patient: Wait a little before each look at the pipe, so that several pages have come by then: waking up for
            each of them costs both sides a tenth of their time.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines: deque[bytes] = deque()
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._plenty = False
        self.patient = False

    def read(self, limit: int) -> Line | None:
        """Give the next line; None at the end of the pipe.

        Raises:
            ProtocolError: It is longer than `limit` bytes, or the pipe ended within it.
        """
        while not self._lines:
            if self.patient and not self._plenty:
                time.sleep(_PATIENCE)
            data = os.read(self._fd, PIPE_BYTES)
            self._plenty = len(data) > PIPE_BYTES // 4
            if not data:
                if self._rest:
                    raise ProtocolError("the pipe ended within a line")
                return None
            first, *others = data.split(b"\n")
            self._rest.append(first)
            self._rest_bytes += len(first)
            if others:
                self._lines.append(b"".join(self._rest))
                self._lines.extend(others[:-1])
                self._rest, self._rest_bytes = [others[-1]] if others[-1] else [], len(others[-1])
            elif self._rest_bytes > limit:
                raise ProtocolError(f"a line of more than {limit} bytes")
        line = self._lines.popleft()
        if len(line) > limit:
            raise ProtocolError(f"a line of more than {limit} bytes")
        return parse_line(line)


def write_request(stream: BinaryIO, request: dict[str, Any]) -> None:
    """Send one request to the child."""
    stream.write(orjson.dumps(request) + b"\n")
    stream.flush()
