"""Encode a document in the child and decode it in the parent: a line for each page, and the rest in the last line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import cache
from itertools import pairwise
from typing import Any, Final, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from prefect_ollama.tasks.parsing.document import Page, ParsedDocument
from prefect_ollama.tasks.parsing.sandbox import protocol

# Pages that are sent together, because each write wakes the parent up.
_TOGETHER: Final = 32

_Type = TypeVar("_Type")


def encoded_pages(pages: Sequence[Page]) -> Iterator[bytes]:
    """Yield the lines of a document's pages, some pages at a time."""
    lines: list[bytes] = []
    for page in pages:
        lines.append(protocol.write_line(protocol.MADE, page.number - 1, encoded(page)))
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
        raise protocol.ProtocolError("the numbers of its pages are wrong")
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
        raise protocol.ProtocolError(f"{where}: {first['msg']}") from None
