"""The protocol between a parser and its child process: one line for each message.

A line from the child is `kind page body`, where the body is JSON and pages count from 0. A request is one JSON object.
The parent treats all lines as data, because a hostile file may control the child.

Kinds in capitals belong to the protocol. Kinds in lower case are entries of the **journal**, and each format defines
its own: what was read, page by page if the child may be stopped before the document is complete. When a child dies,
another one gets the journal, and makes the document that the first child would have made of it.

A document is sent as a line for each page, and the rest in the last line.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from itertools import pairwise
from struct import Struct
from typing import Any, BinaryIO, Final, NamedTuple, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from prefect_ollama.tasks.parsing.document import Page, ParsedDocument

READY: Final = b"READY"  # imported and waiting
KEPT: Final = b"KEPT"  # the journal suffices for a document
SEEN: Final = b"SEEN"  # all pages were read; what comes now adds to them
EXTRA: Final = b"EXTRA"  # begins extra work on a page, which has time of its own
MAKES: Final = b"MAKES"  # all has been read and looked at again; makes the document
MADE: Final = b"MADE"  # a page of the document
PICTURE: Final = b"PICTURE"  # a page as PNG, in Base64
FAILED: Final = b"FAILED"  # the whole file: kind, message
DONE: Final = b"DONE"  # what else there is to the document; CPU seconds, memory

# Maximum size of a line that holds no page, in bytes.
MAX_SHORT_LINE_BYTES: Final = 2**24

# Maximum size of any line, in bytes.
MAX_MESSAGE_BYTES: Final = 2**26

# The largest pipe that Linux gives an unprivileged process (`fs.pipe-max-size`, pipe(7)): some hundred pages of text.
PIPE_BYTES: Final = 2**20

# The progress of a child in a file of memory: how many pages were read, and how many the file has.
PROGRESS: Final = Struct("=QQ")

# Exit status of a child that had no memory left to send an error.
OUT_OF_MEMORY: Final = 77


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits of one file.

    Attributes:
        memory_mb: Memory beyond that of the process at rest, in MiB.
        cpu_seconds: CPU time, in seconds, without extra work.
        wall_seconds: Time by the clock, in seconds, without extra work.
        output_mb: Text with its positions that the file may yield, in MiB.
        allow_partial: Whether the pages that were read before a limit was reached are kept as a document.
    """

    memory_mb: int
    cpu_seconds: float
    wall_seconds: float
    output_mb: int
    allow_partial: bool = False


@dataclass(frozen=True, slots=True)
class ExtraTime:
    """Time for extra work, such as OCR, after all pages were read. If it is stopped, the pages are kept.

    Attributes:
        seconds: Limit of CPU time and of time by the clock, in seconds.
        kind: Kind of the problem of a page for which the time did not suffice.
    """

    seconds: float
    kind: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Order:
    """One file to read.

    Attributes:
        path: The file. The child opens it only if the system cannot send an open file.
        budget: Its limits.
        request: Options for the reader of its format, as values for JSON.
        extra: Time for extra work; None if the format has none.
    """

    path: bytes
    budget: Budget
    request: Mapping[str, Any] = field(default_factory=dict)
    extra: ExtraTime | None = None


class ProtocolError(Exception):
    """A line is too long, incomplete, or not a line of this protocol."""


class Line(NamedTuple):
    """One line from the child."""

    kind: bytes
    page: int
    body: bytes

    def json(self) -> Any:
        """Return the decoded body.

        Raises:
            ProtocolError: The line is not JSON.
        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise ProtocolError(f"the body of {self.kind!r} is no JSON: {error}") from error


def write_line(kind: bytes, page: int, body: bytes) -> bytes:
    """Return a line with its end."""
    return b"%b %d %b\n" % (kind, page, body)


def write_all(fd: int, data: bytes) -> None:
    """Write all data, even if the pipe takes only a part at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_line(line: bytes) -> Line:
    """Parse a line.

    Raises:
        ProtocolError: It is not a line of this protocol.
    """
    try:
        kind, page, body = line.split(b" ", 2)
        return Line(kind, int(page), body)
    except ValueError as error:
        raise ProtocolError(f"no line of the protocol: {line[:80]!r}") from error


def read_next(answers: BinaryIO, limit: int) -> Line | None:
    """Read the next line from a pipe; None at its end.

    Raises:
        ProtocolError: It is longer than `limit` bytes, or the pipe ended within it.
    """
    line = answers.readline(limit + 1)
    if not line:
        return None
    if line.endswith(b"\n"):
        return read_line(line[:-1])
    raise ProtocolError(
        f"a line of more than {limit} bytes" if len(line) > limit else "the pipe ended within a line"
    )


# Pages that are sent together, because each write wakes the parent up.
_TOGETHER: Final = 32

_Type = TypeVar("_Type")


def encoded_pages(pages: Sequence[Page]) -> Iterator[bytes]:
    """Yield the lines of a document's pages, some pages at a time."""
    lines: list[bytes] = []
    for page in pages:
        lines.append(write_line(MADE, page.number - 1, encoded(page)))
        if len(lines) >= _TOGETHER or page is pages[-1]:
            yield b"".join(lines)
            lines.clear()


def encoded(value: Any) -> bytes:
    """Return the JSON of a value; orjson writes dataclasses, but no named tuples."""
    return orjson.dumps(value, default=tuple)


def decoded_page(body: bytes) -> Page:
    """Return a page from the body of its line.

    Raises:
        ProtocolError: The value is not a page. A hostile file may control the child, so the type of every value is
            checked.
    """
    return _checked(Page, body)


def encoded_rest(document: ParsedDocument) -> dict[str, Any]:
    """Return everything of a document except its pages, by name."""
    return {each.name: getattr(document, each.name) for each in fields(document)} | {"pages": ()}


def decoded_document(pages: Sequence[Page], body: bytes) -> ParsedDocument:
    """Return a document from its pages and the body of the last line.

    Raises:
        ProtocolError: The value is not a document, or its pages are not in order.
    """
    document = _checked(ParsedDocument, body)
    bounds = [0, *(page.number for page in pages), document.page_count + 1]
    if any(before >= after for before, after in pairwise(bounds)):
        raise ProtocolError("the numbers of its pages are wrong")
    return replace(document, pages=tuple(pages), ocr_pages=tuple(page.number for page in pages if page.ocr))


# The parent alone decodes, so the child does not build any.
@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _checked(kind: type[_Type], body: bytes) -> _Type:
    adapter: TypeAdapter[_Type] = _adapter(kind)  # type: ignore[arg-type]
    try:
        return adapter.validate_json(body, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ProtocolError(f"{where}: {first['msg']}") from None
