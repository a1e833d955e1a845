"""Read the bodies of a node's answers and its streams of JSON lines, in bounded memory, or raise an error of that node.

Bodies are read as they are sent, never decompressed, and with limits. Parsed JSON can take thirty times the memory of
its text: `[],` has three bytes, and its list takes 56. So the number of values is counted in the bytes before anything
is parsed.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import httpx
import orjson

from prefect_ollama.blocks.errors import NodeAnswerError

T = TypeVar("T")

# The next step after most answers that cannot be used: a proxy or another program may answer there.
LOOK: Final = "Look at what answers at its URL."

# UTF-8's byte order mark, which JSON parsers refuse.
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The largest size of an answer: bytes, lists and objects, and members of lists and objects."""

    size: int
    containers: int
    values: int


# Ollama lists some 450 bytes for each model, and shows 20 KB of most models. Licences and templates also have
# brackets and commas, so these bounds are far above real answers.
VERSION_BOUNDS: Final = Bounds(64 * 1024, 256, 4096)
LIST_BOUNDS: Final = Bounds(4 * 1024**2, 50_000, 400_000)
SHOW_BOUNDS: Final = Bounds(8 * 1024**2, 100_000, 500_000)
LINE_BOUNDS: Final = Bounds(64 * 1024, 256, 4096)

# Floats of a vector of unknown length at most; the largest models have 8,192.
MAX_DIMENSIONS: Final = 16_384

# A float takes 12 bytes as Ollama writes it, and 25 as a double; the rest is for indentation.
_BYTES_A_FLOAT: Final = 48


def embed_bounds(count: int, dimension: int | None) -> Bounds:
    """Return the bounds of an answer of `/api/embed` with so many vectors of that length (None: any model's)."""
    floats = count * (dimension or MAX_DIMENSIONS)
    return Bounds(64 * 1024 + floats * _BYTES_A_FLOAT, count + 64, floats + count + 256)


def unusable(node: str, what: str, remedy: str = LOOK, *, status: int = 200) -> NodeAnswerError:
    """Return the error for an answer of a node that cannot be used, in words that follow its name."""
    return NodeAnswerError(what, node=node, status=status, remedy=remedy)


def parse(body: bytes, bounds: Bounds) -> Any:
    """Parse a JSON text; `ValueError`, which quotes nothing of it, if it is invalid or exceeds the bounds."""
    body = body.removeprefix(_BOM)
    if body.count(b"[") + body.count(b"{") > bounds.containers or body.count(b",") > bounds.values:
        raise ValueError("JSON with far more values than such an answer has")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        why = error.msg.split(":")[0]
    # Not within `except`: as the context of ours, the parser's error would carry the whole text into every pickle.
    raise ValueError(f"JSON that cannot be read ({why})")


def parse_event(line: bytes) -> dict[str, Any]:
    """Parse a line of a stream; raise `ValueError` if it is not a JSON object."""
    event = parse(line, LINE_BOUNDS)
    if type(event) is not dict:
        raise ValueError("a line that is no JSON object")
    return event


def checked(read: Callable[[Any], T], data: Any, *, node: str, call: str) -> T:
    """Return `read(data)`; `NodeAnswerError` if it raises a `ValueError`: a value is not as Ollama gives it."""
    try:
        return read(data)
    except ValueError as error:
        why = str(error)
    raise unusable(
        node,
        f"answered {call} with {why}.",
        "Check what answers at its URL; another Ollama version may help.",
    )


def member(data: dict[str, Any], name: str, kind: type[T], default: T) -> T:
    """Return a member of a JSON object, `default` if it is missing or null; `ValueError` if it has another type."""
    value = data.get(name)
    if value is None:
        return default
    if type(value) is not kind:  # in Python a bool is an int, in JSON it is not
        raise ValueError(f"a {name!r} that is no {_NAMES.get(kind, kind.__name__)}")
    return value


# Names of JSON types in errors.
_NAMES: Final = {dict: "object", list: "list", str: "text", int: "whole number"}


def whole(value: Any, *, most: int) -> int | None:
    """Return a whole number from 0 to `most`; None for any other value."""
    return value if type(value) is int and 0 <= value <= most else None


# Bytes to read of an error's body: messages are short, and a hostile server could send any amount.
MAX_ERROR_BYTES: Final = 16 * 1024

# Pieces that may be small. Further ones must have four bytes on average, because each costs the time of thousands
# of bytes.
_SMALL_PIECES: Final = 65_536

# Bytes of a whole stream. Ollama sends some 3 KB a second during a download, and a download takes a day at most.
MAX_STREAM_BYTES: Final = 256 * 2**20

# Lines and network packets of a whole stream, because each costs time whatever its size.
MAX_LINES: Final = 4_000_000


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
        if size > MAX_STREAM_BYTES or count > MAX_LINES:
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
