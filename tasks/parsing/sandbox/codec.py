"""Encode a document in the child and decode it in the parent: a line for each page, and the rest in the last line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import cache
from itertools import pairwise
from typing import Any, Final, TypeVar, get_type_hints

import orjson
from pydantic import TypeAdapter, ValidationError

from prefect_ollama.tasks.parsing.document import Block, Box, Page, ParsedDocument
from prefect_ollama.tasks.parsing.sandbox import protocol

# Pages that are sent together, because each write wakes the parent up.
_TOGETHER: Final = 32

_Type = TypeVar("_Type")


def encoded_pages(pages: Sequence[Page]) -> Iterator[bytes]:
    """Yield the lines of a document's pages, some pages at a time."""
    lines: list[bytes] = []
    for page in pages:
        blocks = [[kind, text, *box, *rest] for kind, text, box, *rest in page.blocks]
        body = orjson.dumps([page.width, page.height, page.ocr, page.heads, page.label, blocks])
        lines.append(protocol.write_line(protocol.MADE, page.number - 1, body))
        if len(lines) >= _TOGETHER or page is pages[-1]:
            yield b"".join(lines)
            lines.clear()


def decoded_page(number: int, body: bytes) -> Page:
    """Return a page from the body of its line.

    Raises:
        ProtocolError: It is no page. A hostile file may control the child, so the type of every value is checked.
    """
    width, height, ocr, heads, label, blocks = _checked(_page_type(), body)
    made = [
        Block(kind, text, Box(x0, y0, x1, y1), level, continues, ends, header, title)
        for kind, text, x0, y0, x1, y1, level, continues, ends, header, title in blocks
    ]
    return Page(number, width, height, tuple(made), ocr, heads, label)


def encoded_rest(document: ParsedDocument) -> dict[str, Any]:
    """Return everything of a document except its pages, as values for JSON."""
    rest = {each.name: getattr(document, each.name) for each in fields(document)}
    # orjson writes dataclasses, but no named tuples.
    return rest | {"pages": (), "dropped_lines": list(map(tuple, document.dropped_lines))}


def decoded_document(pages: Sequence[Page], body: bytes) -> ParsedDocument:
    """Return a document from its pages and the body of the last line.

    Raises:
        ProtocolError: It is no document, or the pages are not in order.
    """
    document = _checked(_document_type(), body)
    bounds = [0, *(page.number for page in pages), document.page_count + 1]
    if any(before >= after for before, after in pairwise(bounds)):
        raise protocol.ProtocolError("the numbers of its pages are wrong")
    return replace(document, pages=tuple(pages), ocr_pages=tuple(page.number for page in pages if page.ocr))


# The parent alone decodes, so the child does not build these.
@cache
def _page_type() -> TypeAdapter[Any]:
    kinds = get_type_hints(Block)["kind"]
    block = tuple[kinds, str, float, float, float, float, int, bool, tuple[int, ...], int, str]  # type: ignore[valid-type]
    return TypeAdapter(tuple[float, float, bool, tuple[str, ...], str, list[block]])


@cache
def _document_type() -> TypeAdapter[ParsedDocument]:
    return TypeAdapter(ParsedDocument)


def _checked(kind: TypeAdapter[_Type], body: bytes) -> _Type:
    try:
        return kind.validate_json(body, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise protocol.ProtocolError(f"{where}: {first['msg']}") from None
