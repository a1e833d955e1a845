"""Read bodies of answers, and streams of JSON lines: as they are sent, never decompressed, and with limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import httpx

from prefect_ollama.blocks.nodes._payload import LINE_BOUNDS, unusable

# Bytes to read of an error's body: messages are short, and a hostile server could send any amount.
MAX_ERROR_BYTES: Final = 16 * 1024

# Pieces that may be small. Further ones must have four bytes on average, because each costs the time of thousands
# of bytes.
_SMALL_PIECES: Final = 65_536

# Bytes of a whole stream. Ollama sends some 3 KB a second during a download, and a download takes a day at most.
MAX_STREAM_BYTES: Final = 256 * 2**20

# Lines and network packets of a whole stream, because each costs time whatever its size.
MOST_LINES: Final = 4_000_000


def _refuse_encoding(response: httpx.Response, node: str) -> None:
    """Refuse a compressed body, though requests ask for `identity`, with a `NodeAnswerError`."""
    # A few kilobytes that were compressed twice become gigabytes, which would be decoded before any limit applies.
    if _is_encoded(response):
        raise unusable(
            node,
            "compresses its answer, though the request asks for none.",
            "Switch compression off in the proxy before it, or let it respect 'Accept-Encoding: identity'.",
            status=response.status_code,
        )


async def read_body(response: httpx.Response, limit: int, node: str) -> bytes:
    """Return the whole body.

    `NodeAnswerError` if it is compressed, longer than `limit` bytes, or sent in millions of tiny pieces.
    """
    _refuse_encoding(response, node)
    body = bytearray()
    async for piece in _pieces(response, node):
        body += piece
        if len(body) > limit:
            size = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit // 1024} KiB"
            raise unusable(node, f"answered more than {size}.", status=response.status_code)
    return bytes(body)


async def json_lines(response: httpx.Response, node: str, while_doing: str) -> AsyncIterator[bytes]:
    """Yield the lines of a stream, each within its bounds; the last one may lack its end.

    Args:
        while_doing: The operation, as the end of a sentence, for errors.

    Raises:
        NodeAnswerError: The stream is compressed, or a line or the whole stream is too long.
    """
    _refuse_encoding(response, node)
    rest = b""
    size = count = 0
    async for piece in response.aiter_raw():
        size += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        count += len(lines) + 1  # a piece costs as much as a line
        if size > MAX_STREAM_BYTES or count > MOST_LINES:
            raise unusable(node, f"sent far more than Ollama does {while_doing}.")
        if len(rest) > LINE_BOUNDS.size or any(len(line) > LINE_BOUNDS.size for line in lines):
            raise unusable(node, f"sent a line without end {while_doing}.")
        for line in lines:
            if line.strip():
                yield line
    if rest.strip():
        yield rest


async def read_error(response: httpx.Response, node: str) -> bytes:
    """Return the beginning of an error's body; nothing of a compressed one."""
    body = bytearray()
    if not _is_encoded(response):
        async for piece in _pieces(response, node):
            body += piece
            if len(body) >= MAX_ERROR_BYTES:
                break
    return bytes(body[:MAX_ERROR_BYTES])


async def _pieces(response: httpx.Response, node: str) -> AsyncIterator[bytes]:
    size = count = 0
    async for piece in response.aiter_raw():
        size += len(piece)
        count += 1
        if count > _SMALL_PIECES + size // 4:
            raise unusable(node, "sends its answer in pieces of a byte.", status=response.status_code)
        yield piece


def _is_encoded(response: httpx.Response) -> bool:
    codings = ",".join(response.headers.get_list("content-encoding")).lower().split(",")
    return any(coding.strip() not in ("", "identity") for coding in codings)
