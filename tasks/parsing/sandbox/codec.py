"""A document on its way from the child to its parent: a line for each page, and the rest in the last line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from prefect_ollama.tasks.parsing.document import Block, Box, Metadata, Page, ParsedDocument, Problem
from prefect_ollama.tasks.parsing.dropped import DroppedLine
from prefect_ollama.tasks.parsing.sandbox import protocol

# Pages that are sent at once: each time wakes the parent up.
_TOGETHER: Final = 32


def encoded_pages(pages: Sequence[Page]) -> Iterator[bytes]:
    """Yield the lines of a document's pages, some pages at a time."""
    lines: list[bytes] = []
    for page in pages:
        blocks = [[kind, text, *box, *rest] for kind, text, box, *rest in page.blocks]
        body = orjson.dumps([page.width, page.height, page.ocr, blocks])
        lines.append(protocol.write_line(protocol.MADE, page.number - 1, body))
        if len(lines) >= _TOGETHER or page is pages[-1]:
            yield b"".join(lines)
            lines.clear()


def decoded_page(number: int, width: float, height: float, ocr: bool, blocks: list[list[Any]]) -> Page:
    """Return a page from the body of its line."""
    made = [
        Block(kind, text, Box(x0, y0, x1, y1), level, continues, tuple(ends))
        for kind, text, x0, y0, x1, y1, level, continues, ends in blocks
    ]
    return Page(number, width, height, tuple(made), ocr)


def encoded_rest(document: ParsedDocument) -> dict[str, Any]:
    """Return what there is to a document beside its pages, as JSON can hold it."""
    return {
        "page_count": document.page_count,
        "metadata": document.metadata,
        "problems": document.problems,
        "dropped": document.dropped,
        "dropped_lines": list(map(tuple, document.dropped_lines)),
        "ocr_seconds": document.ocr_seconds,
    }


def decoded_document(pages: Sequence[Page], rest: dict[str, Any]) -> ParsedDocument:
    """Return a document from its pages and the rest.

    Raises:
        KeyError: A part is missing.
        TypeError: A part is of another kind.
        ValueError: A date is none.
    """
    metadata = rest["metadata"]
    return ParsedDocument(
        pages=tuple(pages),
        page_count=rest["page_count"],
        metadata=Metadata(
            metadata["title"], metadata["author"], _date(metadata["created"]), _date(metadata["modified"])
        ),
        problems=tuple(Problem(**problem) for problem in rest["problems"]),
        dropped=rest["dropped"],
        dropped_lines=tuple(DroppedLine(*line) for line in rest["dropped_lines"]),
        ocr_pages=tuple(page.number for page in pages if page.ocr),
        cpu_seconds=rest["cpu_seconds"],
        ocr_seconds=rest["ocr_seconds"],
    )


def _date(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
