"""The stream in which a node tells how far the download of a model is: lines of JSON, each bounded.

Source: https://docs.ollama.com/api/pull. An error in mid-stream is a line of its own under status 200.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import httpx

from prefect_ollama.blocks.errors import NodeAnswerError, NodeFailed
from prefect_ollama.blocks.nodes._body import refuse_encoding
from prefect_ollama.blocks.nodes._disclosure import Disclosure
from prefect_ollama.blocks.nodes._payload import LINE_BOUNDS, checked, member, parse, whole

MOST_STREAM: Final = 256 * 2**20
"""Bytes of a whole stream: Ollama sends some 3 KB a second, and a download takes a day at most."""

MOST_LINES: Final = 4_000_000
_MOST_BYTES: Final = 2**50

# Other words are not repeated: they could be anything.
_STEPS: Final = (
    (re.compile(r"pulling manifest"), "pulling manifest"),
    (re.compile(r"pulling [0-9a-f]{6,64}"), "pulling a layer"),
    (re.compile(r"verifying sha256 digest"), "verifying sha256 digest"),
    (re.compile(r"writing manifest"), "writing manifest"),
    (re.compile(r"removing (any )?unused layers"), "removing unused layers"),
    (re.compile(r"success"), "success"),
)


@dataclass(frozen=True, slots=True)
class PullStep:
    """A line of the stream.

    Attributes:
        what: What the node does, in Ollama's words; `pulling` where it uses others.
        done: Bytes of the layer that are there.
        total: Bytes of the layer, 0 where unknown.
    """

    what: str
    done: int
    total: int


async def pull_lines(response: httpx.Response, node: str) -> AsyncIterator[bytes]:
    """The lines of a stream, each within its bounds; the last one may lack its end.

    Raises:
        NodeAnswerError: The stream is compressed, or a line or the whole of it is too long.
    """

    def too_long(what: str) -> NodeAnswerError:
        return NodeAnswerError(
            f"sent {what} while it pulled the model.",
            node=node,
            status=200,
            remedy="Look at what answers at its URL.",
        )

    refuse_encoding(response, node)
    rest = b""
    size = count = 0
    async for piece in response.aiter_raw():
        size += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        count += len(lines) + 1  # a piece costs as much as a line
        if size > MOST_STREAM or count > MOST_LINES:
            raise too_long("far more than Ollama does")
        if len(rest) > LINE_BOUNDS.size or any(len(line) > LINE_BOUNDS.size for line in lines):
            raise too_long("a line without end")
        for line in lines:
            if line.strip():
                yield line
    if rest.strip():
        yield rest


def read_step(line: bytes, *, node: str, model: str, disclosure: Disclosure) -> PullStep:
    """What a line says.

    Raises:
        NodeFailed: It says that the download failed.
        NodeAnswerError: It is no line of Ollama's.
    """

    def read(text: bytes) -> PullStep:
        event = parse(text, LINE_BOUNDS)
        if type(event) is not dict:
            raise ValueError("a line that is no JSON object")
        if "error" in event:
            words = disclosure.words(str(event["error"])[:4096])
            raise NodeFailed(
                f"could not pull {model!r}{f' ({words})' if words else ''}.",
                node=node,
                remedy="Check the model's name and the node's way to its registry.",
            )
        said = member(event, "status", str, "")
        what = next((words for pattern, words in _STEPS if pattern.fullmatch(said)), "pulling")
        done, total = (whole(event.get(name), most=_MOST_BYTES) or 0 for name in ("completed", "total"))
        return PullStep(what, done, total)

    return checked(read, line, node=node, call="/api/pull")
