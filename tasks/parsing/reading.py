"""The pages of one file as they arrive, and the document they make when no more will come."""

from __future__ import annotations

from typing import Any

from prefect_ollama.tasks.parsing import protocol
from prefect_ollama.tasks.parsing.document import Metadata, ParsedDocument, Problem
from prefect_ollama.tasks.parsing.lines import RawPage, read_page
from prefect_ollama.tasks.parsing.metadata import read_metadata
from prefect_ollama.tasks.parsing.options import ParseOptions
from prefect_ollama.tasks.parsing.structure import build_pages


class Reading:
    """Collects what the child sends about one file."""

    def __init__(self, options: ParseOptions) -> None:
        self._options = options
        self._pages: dict[int, RawPage] = {}
        self._problems: list[Problem] = []
        self._count = 0
        self._outline: list[tuple[int, str, int]] = []
        self._metadata = Metadata()
        self._cpu_seconds = 0.0
        self.received = 0

    @property
    def has_pages(self) -> bool:
        """Whether any page has arrived."""
        return bool(self._pages)

    @property
    def progress(self) -> str:
        """How far reading came, for messages."""
        return f"after {len(self._pages)} of {self._count} pages" if self._count else "before its first page"

    def opened(self, about: dict[str, Any]) -> None:
        """Take what the file says of itself."""
        self._count = about["pages"]
        self._metadata = read_metadata(about["metadata"])
        self._outline = [(level, title, page) for level, title, page in about["outline"]]
        if about["repaired"]:
            self._problems.append(
                Problem(
                    None,
                    "repaired",
                    "the file is damaged and was repaired while reading; pages may be missing",
                    "Get a fresh copy, or open and save it with a PDF viewer.",
                    unread=False,
                )
            )

    def page(self, number: int, body: bytes) -> None:
        """Take one page of structured text."""
        self.received += len(body)
        width, height = protocol.PAGE_SIZE.unpack_from(body)
        self._pages[number] = read_page(number, width, height, body[protocol.PAGE_SIZE.size :])

    def page_failed(self, number: int, kind: str, message: str) -> None:
        """Note that a page could not be read, or not by OCR."""
        self._problems.append(Problem(number + 1, kind, message))

    def wants_more(self) -> dict[str, Any]:
        """Say which pages the child must look at again."""
        return {"tables": [], "ocr": []}

    def tables(self, number: int, body: bytes) -> None:
        """Take the tables of one page."""
        self.received += len(body)

    def ocr(self, number: int, body: bytes) -> None:
        """Take the text of one page as OCR read it."""
        self.page(number, body)
        self._pages[number].ocr = True

    def done(self, cpu_seconds: float) -> None:
        """Note what the child used."""
        self._cpu_seconds = cpu_seconds

    def stopped(self, kind: str, reason: str, remedy: str) -> None:
        """List every page that did not arrive as not read, because the child was stopped."""
        failed = {p.page for p in self._problems}
        self._problems += [
            Problem(number + 1, kind, reason, remedy)
            for number in range(self._count)
            if number not in self._pages and number + 1 not in failed
        ]

    def finish(self, seconds: float) -> ParsedDocument:
        """Make the document of what has arrived."""
        raw = [self._pages[number] for number in sorted(self._pages)]
        pages, dropped = build_pages(raw, self._outline)
        return ParsedDocument(
            pages=pages,
            page_count=self._count,
            metadata=self._metadata,
            problems=tuple(sorted(self._problems, key=lambda p: (p.page or 0, p.kind))),
            dropped=dropped,
            ocr_pages=tuple(page.number for page in pages if page.ocr),
            seconds=seconds,
            cpu_seconds=self._cpu_seconds,
        )
