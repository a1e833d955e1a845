"""Read bodies of answers: as they are sent, never decompressed, and with a limit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import httpx

from prefect_ollama.blocks.nodes._payload import unusable

# Bytes to read of an error's body: messages are short, and a hostile server could send any amount.
MAX_ERROR_BYTES: Final = 16 * 1024

# Pieces that may be small. Further ones must have four bytes on average, because each costs the time of thousands
# of bytes.
_SMALL_PIECES: Final = 65_536


def refuse_encoding(response: httpx.Response, node: str) -> None:
    """Refuse a compressed body.

    Requests ask for `identity`. A few kilobytes that were compressed twice become gigabytes, which would be decoded
    before any limit applies.

    Raises:
        NodeAnswerError: The body has a content coding.
    """
    if _is_encoded(response):
        raise unusable(
            node,
            "compresses its answer, though the request asks for none.",
            "Switch compression off in the proxy before it, or let it respect 'Accept-Encoding: identity'.",
            status=response.status_code,
        )


async def read_body(response: httpx.Response, limit: int, node: str) -> bytes:
    """Return the whole body.

    Raises:
        NodeAnswerError: It is compressed, longer than `limit` bytes, or sent in millions of tiny pieces.
    """
    refuse_encoding(response, node)
    body = bytearray()
    async for piece in _pieces(response, node):
        body += piece
        if len(body) > limit:
            size = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit // 1024} KiB"
            raise unusable(node, f"answered more than {size}.", status=response.status_code)
    return bytes(body)


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
