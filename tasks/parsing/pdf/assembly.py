"""Collect the journal entries of one file, and make its document from them.

The same entries make the same document, whether they come from the reading itself or, after the process that read
was stopped, from its journal.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter

from prefect_ollama.tasks.parsing.document import Page, ParsedDocument, Problem
from prefect_ollama.tasks.parsing.dropped import Dropped
from prefect_ollama.tasks.parsing.pdf import journal
from prefect_ollama.tasks.parsing.pdf._annotations import not_on_pages, on_pages
from prefect_ollama.tasks.parsing.pdf._layout import RawPage
from prefect_ollama.tasks.parsing.pdf._metadata import read_metadata
from prefect_ollama.tasks.parsing.pdf._page_kind import is_mostly_unknown, keep_beside
from prefect_ollama.tasks.parsing.pdf._structure import build_pages

# Remedies for pages that were not read. They advise only what a user without this project's options can do.
_REPAIR: Final = "Open and save the file with a PDF viewer, or get a fresh copy."
_OCR: Final = "See whether the page shows in a PDF viewer; raise the limits if it does."


class Reading:
    """Collects the entries of one file's journal.

    Attributes:
        seen: Whether all pages were read.
        pages: The pages that were read, by number.
    """

    def __init__(self) -> None:
        self.count = 0
        self.seen = False
        self._about: dict[str, Any] = {}
        self.pages: dict[int, RawPage] = {}
        self._problems: dict[int | None, Problem] = {}
        self._unreadable: dict[int, str] = {}
        self._ocr_seconds = 0.0

    @property
    def first_failure(self) -> str:
        """The reason of the first page that failed; empty if no page failed."""
        return next(
            (p.reason for page, p in sorted(self._problems.items(), key=_by_page) if page), ""
        ).rstrip(".")

    @property
    def unreadable(self) -> list[int]:
        """Numbers of the pages that need OCR and have been neither read nor given up."""
        return sorted(number for number in self._unreadable if number + 1 not in self._problems)

    def take(self, kind: bytes, number: int, content: Any) -> None:
        """Take an entry.

        Args:
            kind: One of those of `journal`.
            number: Page that it is about, counted from 0.
            content: A `RawPage` where it brings one, else a dictionary.
        """
        match kind:
            case journal.OPENED:
                self._opened(content)
            case journal.PAGE:
                self.pages[number] = content
            case journal.PAGE_FAILED:
                reason = f"cannot be read ({content['message']})."
                self._problems[number + 1] = Problem(number + 1, content["kind"], reason, _REPAIR)
            case journal.ALL_READ:
                self.seen = True
            case journal.UNREADABLE:
                self._unreadable[number] = content["why"]
            case journal.OCR:
                self._ocr_seconds += content.seconds
                keep_beside(content, self.pages[number], self._unreadable[number])
                self.pages[number] = content
                del self._unreadable[number]
            case journal.OCR_FAILED:
                self._ocr_seconds += content.get("seconds", 0.0)
                self._not_read(number, content["kind"], content["message"], content.get("remedy", _OCR))

    def stopped(self, kind: str, reason: str, remedy: str) -> None:
        """Give up the pages that were not read, or not read again, when the child was stopped."""
        if not self.seen:
            for number in range(self.count):
                if number not in self.pages and number + 1 not in self._problems:
                    self._problems[number + 1] = Problem(number + 1, kind, f"Not read: {reason}.", remedy)
        for number in self.unreadable:
            self._not_read(number, kind, reason, remedy)
            if self.seen and kind != "ocr-limit":
                reason = "OCR of a page before it ended the parser"

    def make(self, *, running_heads: bool = False) -> ParsedDocument:
        """Make the document from the entries so far. A document without a title gets the first heading of page 1.

        Args:
            running_heads: Whether running heads, feet and page numbers stay.
        """
        dropped = Dropped()
        for number, why in self._unreadable.items():
            if why == "garbled" and number in self.pages:
                page = self.pages[number]
                before = page.characters
                page.pieces = [piece for piece in page.pieces if not is_mostly_unknown(piece)]
                dropped.characters["garbled"] += before - page.characters
        self.stopped("damaged", "it yields no text that can be understood", _REPAIR)
        metadata = read_metadata(self._about.get("metadata", {}))
        outline = [(level, name, page) for level, name, page in self._about.get("outline", ())]
        raw = [self.pages[number] for number in sorted(self.pages)]
        pages = build_pages(raw, outline, metadata.title, dropped, running_heads=running_heads)
        problems = [problem for _, problem in sorted(self._problems.items(), key=_by_page)]
        return ParsedDocument(
            pages=pages,
            page_count=self.count,
            metadata=metadata if metadata.title else replace(metadata, title=_title(pages)),
            problems=(*not_on_pages(self._about.get("beside", {}), raw), *_undecoded(raw), *problems),
            dropped=dict(+dropped.characters),
            dropped_lines=tuple(dropped.listed()),
            ocr_seconds=self._ocr_seconds,
        )

    def _opened(self, about: dict[str, Any]) -> None:
        self._about, self.count = about, about["pages"]
        if about["repaired"]:
            reason = "The file is damaged and was repaired while reading; pages may be missing."
            self._problems[None] = Problem(None, "repaired", reason, _REPAIR, unread=False)

    def _not_read(self, number: int, kind: str, reason: str, remedy: str) -> None:
        scanned = self._unreadable[number] == "scanned"
        what = "a picture of text" if scanned else "garbled text"
        if kind == "ocr-language":
            names = reason.split(",")
            packages = " ".join(f"tesseract-ocr-{name.replace('_', '-')}" for name in names)
            reason = f"Tesseract's data for {', '.join(names)} was not found"
            remedy = f"On Debian or Ubuntu: apt-get install {packages}"
        self._problems[number + 1] = Problem(
            number + 1, kind, f"{what} that was not read by OCR: {reason}.", remedy
        )


def _undecoded(pages: Sequence[RawPage]) -> Iterator[Problem]:
    if found := [page for page in pages if page.undecoded]:
        reason = (
            f"Content {on_pages(found)} cannot be decoded ({found[0].undecoded}); text may be missing there."
        )
        yield Problem(None, "undecoded", reason, _REPAIR, not all(page.pieces for page in found))


def _by_page(item: tuple[int | None, Problem]) -> int:
    return item[0] or 0


def from_journal(kind: bytes, content: Any) -> Any:
    """Return the content of an entry as `Reading.take` needs it, from the decoded JSON of the journal."""
    return _raw_page().validate_python(content) if kind in (journal.PAGE, journal.OCR) else content


@cache
def _raw_page() -> TypeAdapter[RawPage]:
    return TypeAdapter(RawPage)


def _title(pages: Sequence[Page]) -> str:
    blocks = pages[0].blocks if pages and pages[0].number == 1 else ()
    return next((block.text for block in blocks if block.kind == "heading" and block.level == 1), "")
