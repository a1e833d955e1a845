"""Read a stream of JSON lines (NDJSON) from a node, with bounds for each line and for the whole stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import httpx

from prefect_ollama.blocks.nodes._body import refuse_encoding
from prefect_ollama.blocks.nodes._payload import LINE_BOUNDS, unusable

# Bytes of a whole stream. Ollama sends some 3 KB a second during a download, and a download takes a day at most.
MOST_STREAM: Final = 256 * 2**20

# Lines and network packets of a whole stream, because each costs time whatever its size.
MOST_LINES: Final = 4_000_000


async def json_lines(response: httpx.Response, node: str, while_doing: str) -> AsyncIterator[bytes]:
    """Yield the lines of a stream, each within its bounds; the last one may lack its end.

    Args:
        while_doing: The operation, as the end of a sentence, for errors.

    Raises:
        NodeAnswerError: The stream is compressed, or a line or the whole stream is too long.
    """
    refuse_encoding(response, node)
    rest = b""
    size = count = 0
    async for piece in response.aiter_raw():
        size += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        count += len(lines) + 1  # a piece costs as much as a line
        if size > MOST_STREAM or count > MOST_LINES:
            raise unusable(node, f"sent far more than Ollama does {while_doing}.")
        if len(rest) > LINE_BOUNDS.size or any(len(line) > LINE_BOUNDS.size for line in lines):
            raise unusable(node, f"sent a line without end {while_doing}.")
        for line in lines:
            if line.strip():
                yield line
    if rest.strip():
        yield rest
