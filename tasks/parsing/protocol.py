"""What a parser and its child process say to each other, a line at a time.

A line from the child is `kind page width height body`, the body being JSON and the page counted from 0. A line
from the parent is one JSON object. Whatever a hostile file makes of the child, what it says is only data.
"""

from __future__ import annotations

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
        except orjson.JSONDecodeError as error:
            raise ProtocolError(f"the body of {self.kind!r} is no JSON: {error}") from error


def head(kind: bytes, page: int = 0, width: float = 0.0, height: float = 0.0) -> bytes:
    """Give the beginning of a line, up to its body."""
    return b"%b %d %.1f %.1f " % (kind, page, width, height)


def read_line(stream: BinaryIO, limit: int) -> Line | None:
    """Receive one line from the child; None at the end of the stream.

    Raises:
        ProtocolError: The line is longer than `limit` bytes, or the stream ended within it.
    """
    line = stream.readline(limit + 1)
    if not line:
        return None
    if not line.endswith(b"\n"):
        raise ProtocolError(f"a line of more than {limit} bytes, or one broken off")
    try:
        kind, page, width, height, body = line.split(b" ", 4)
        return Line(kind, int(page), float(width), float(height), body)
    except ValueError as error:
        raise ProtocolError(f"no line of the protocol: {line[:80]!r}") from error


def write_request(stream: BinaryIO, request: dict[str, Any]) -> None:
    """Send one request to the child."""
    stream.write(orjson.dumps(request) + b"\n")
    stream.flush()
