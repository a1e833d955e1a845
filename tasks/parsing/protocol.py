"""Frames between a parser and its child process.

A frame is a byte for its kind, the page it is about (counted from 0), the length of its body, and the body.
Bodies are JSON: whatever a hostile file makes of the child, what it sends cannot run in the parent.
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO, Final

import orjson

HEADER: Final = struct.Struct("<BII")
PAGE_SIZE: Final = struct.Struct("<ff")

# From the parent.
OPEN: Final = 1  # path, passwords, limits
MORE: Final = 2  # pages to look at again: for tables, by OCR; nothing left to do: empty lists
# From the child.
READY: Final = 10  # imported and waiting
OPENED: Final = 11  # page count, metadata, outline, …
PAGE: Final = 12  # page size, then MuPDF's structured text as JSON
TABLES: Final = 13  # MuPDF's structured text as JSON, with the tables it found
OCR: Final = 14  # as PAGE, read from a picture of the page
PAGE_FAILED: Final = 15  # kind and message
TEXT_DONE: Final = 16  # every page has been looked at once; waits for MORE
DONE: Final = 17  # CPU seconds, memory
FAILED: Final = 18  # the file as a whole: kind and message


class ProtocolError(Exception):
    """The other side went away in mid-frame, or sent a frame larger than allowed."""


def write_frame(stream: BinaryIO, kind: int, page: int, body: bytes) -> None:
    """Send one frame at once: what was sent before a process dies is not lost."""
    stream.write(HEADER.pack(kind, page, len(body)) + body)
    stream.flush()


def write_json(stream: BinaryIO, kind: int, body: Any, page: int = 0) -> None:
    """Send one frame with a JSON body."""
    write_frame(stream, kind, page, orjson.dumps(body))


def read_frame(stream: BinaryIO, limit: int) -> tuple[int, int, bytes] | None:
    """Receive one frame as (kind, page, body); None at the end of the stream.

    Raises:
        ProtocolError: The stream ended inside a frame, or its body is larger than `limit` bytes.
    """
    header = stream.read(HEADER.size)
    if not header:
        return None
    if len(header) < HEADER.size:
        raise ProtocolError("the stream ended inside a header")
    kind, page, length = HEADER.unpack(header)
    if length > limit:
        raise ProtocolError(f"a frame of {length} bytes, and {limit} are allowed")
    body = stream.read(length)
    if len(body) < length:
        raise ProtocolError("the stream ended inside a body")
    return kind, page, body
