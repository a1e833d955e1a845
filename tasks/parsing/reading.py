"""The pages of one file as they arrive, what to look at again, and the document they make in the end."""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from prefect_ollama.tasks.parsing import protocol
from prefect_ollama.tasks.parsing.document import Metadata, ParsedDocument, Problem
from prefect_ollama.tasks.parsing.lines import SCALE, RawPage, read_page
from prefect_ollama.tasks.parsing.metadata import read_metadata
from prefect_ollama.tasks.parsing.options import ParseOptions
from prefect_ollama.tasks.parsing.structure import build_pages
from prefect_ollama.tasks.parsing.tables import read_tables, regions

# A page with fewer bytes of structured text may have few characters; then it is asked for its pictures.
_FEW_BYTES: Final = 4000
# A page with fewer characters whose pictures cover more than this share of it is a scan.
_FEW_CHARACTERS: Final = 20
_COVERED: Final = 0.5
# Most scans that were stamped ("Downloaded from …") are nothing but picture.
_FEW_IF_ALL_PICTURE: Final = 200
_ALL_PICTURE: Final = 0.9
# U+FFFD, the private use area and controls: what a font without a character map yields.
_UNKNOWN: Final = re.compile(rb"\xef(?:\xbf\xbd|[\x80-\xa3])|\xee|\\u00[01]")
_GARBLED: Final = 0.2

# Looking for tables may take this share of the CPU time that the file has.
_TABLES_SHARE: Final = 0.3

_REPAIR = "Open and save the file with a PDF viewer, or get a fresh copy."


class Reading:
    """Collects what the child sends about one file."""

    def __init__(self, options: ParseOptions) -> None:
        self._options = options
        self._pages: dict[int, RawPage] = {}
        self._problems: dict[int | None, Problem] = {}
        self._dropped: Counter[str] = Counter()
        self.count = 0
        self._outline: list[tuple[int, str, int]] = []
        self._metadata = Metadata()
        self._cpu_seconds = 0.0
        self._few: set[int] = set()
        self._tables: list[tuple[int, float, float, float, float]] = []
        self._not_hunted = 0
        self._unreadable: dict[int, str] = {}
        self._ocr_started: float | None = None
        self._ocr_seconds = 0.0

    @property
    def has_pages(self) -> bool:
        """Whether any page has arrived."""
        return bool(self._pages)

    @property
    def first_failure(self) -> str:
        """Why the first page that failed did so; empty where none did."""
        return next(
            (p.reason for page, p in sorted(self._problems.items(), key=_by_page) if page), ""
        ).rstrip(".")

    @property
    def progress(self) -> str:
        """How far reading came, for messages."""
        return f"after {len(self._pages)} of {self.count} pages" if self.count else "before its first page"

    def opened(self, about: dict[str, Any]) -> None:
        """Take what the file says of itself."""
        self.count = about["pages"]
        self._metadata = read_metadata(about["metadata"])
        self._outline = [(level, title, page) for level, title, page in about["outline"]]
        if about["repaired"]:
            self._problems[None] = Problem(
                None,
                "repaired",
                "The file is damaged and was repaired while reading; pages may be missing.",
                _REPAIR,
                unread=False,
            )

    def page(self, line: protocol.Line) -> None:
        """Take the structured text of one page."""
        body = line.body
        page = self._raw_page(line)
        if page is None:
            return
        number = page.number
        self._pages[number] = page
        if len(body) < _FEW_BYTES and _characters(page) < _FEW_IF_ALL_PICTURE:
            self._few.add(number)
        if page.rows and self._options.tables:
            self._tables += [(number, *region) for region in regions(page)]
        if (b"\xef" in body or b"\xee" in body or b"\\u00" in body) and _is_garbled(page, body):
            self._unreadable[number] = "garbled"

    def pictures(self, line: protocol.Line) -> None:
        """Take the structured text of one page again, with the places of its images."""
        page = self._pages[line.page]
        characters = _characters(page)
        try:
            images = [block["bbox"] for block in line.json()["blocks"] if block["type"] == "image"]
        except protocol.ProtocolError:
            images = []
        share = sum(box["w"] * box["h"] for box in images) / max(1.0, page.width * page.height * SCALE**2)
        if (characters < _FEW_CHARACTERS and share > _COVERED) or (
            characters < _FEW_IF_ALL_PICTURE and share > _ALL_PICTURE
        ):
            self._unreadable[line.page] = "scanned"

    def tables(self, line: protocol.Line) -> None:
        """Take the structured text of one page again, with its tables."""
        self._not_hunted -= 1
        with contextlib.suppress(protocol.ProtocolError):  # The text is there; only the tables are not.
            self._pages[line.page].tables += read_tables(line.json())

    def ocr(self, line: protocol.Line) -> None:
        """Take the text of one page as OCR read it."""
        page = self._raw_page(line)
        if page is not None:
            page.ocr = True
            self._pages[line.page] = page
            del self._unreadable[line.page]

    def page_failed(self, number: int, kind: str, message: str) -> None:
        """Note that a page could not be read, or not by OCR; looking for tables in vain is no failure."""
        if number in self._unreadable:
            self._not_read(number, kind, message)
        elif number in self._pages:
            self._not_hunted -= 1
        else:
            reason = f"Page {number + 1} cannot be read ({message})."
            self._problems[number + 1] = Problem(number + 1, kind, reason, _REPAIR)

    def wants_more(self) -> dict[str, Any] | None:
        """Say what the child must look at again, and then again; None when that was all."""
        if self._few or self._tables:
            request = {
                "pictures": sorted(self._few),
                "tables": self._tables,
                "tables_seconds": _TABLES_SHARE * self._options.cpu_seconds,
                "ocr": [],
            }
            self._not_hunted = len(self._tables)
            self._few, self._tables = set(), []
            return request
        now = time.monotonic()
        if self._ocr_started is not None:
            self._ocr_seconds = now - self._ocr_started
        left = self._options.ocr_seconds - self._ocr_seconds
        pending = sorted(number for number in self._unreadable if number + 1 not in self._problems)
        if not pending:
            return None
        if self._options.ocr == "off":
            self._give_up(pending, "ocr-off", "OCR is off", "Set `ocr` to 'auto'.")
            return None
        if sum(page.ocr for page in self._pages.values()) >= self._options.ocr_max_pages:
            limit = f"{self._options.ocr_max_pages} pages have been read by OCR"
            self._give_up(pending, "ocr-limit", limit, "Raise `ocr_max_pages`.")
            return None
        if left <= 0:
            self._out_of_ocr_time()
            return None
        self._ocr_started = self._ocr_started or now
        return {
            "pictures": [],
            "tables": [],
            "tables_seconds": 0.0,
            "ocr": pending[:1],
            "ocr_seconds": left,
            "dpi": self._options.ocr_dpi,
            "languages": self._options.ocr_languages,
            "tessdata": str(self._options.tessdata or ""),
        }

    def _out_of_ocr_time(self) -> None:
        """Give up the pages that OCR has not come to."""
        pending = [number for number in self._unreadable if number + 1 not in self._problems]
        limit = f"OCR of this file has taken {self._options.ocr_seconds:g} s"
        self._give_up(pending, "ocr-limit", limit, "Raise `ocr_seconds`, or lower `ocr_dpi`.")

    def look_stopped(self, kind: str, reason: str) -> None:
        """Give up what the child was looking at again when it ended, and what was to come after it."""
        if self._ocr_started is not None and kind == "wall-time":
            self._out_of_ocr_time()
        for number in sorted(self._unreadable):
            if number + 1 not in self._problems:
                self._not_read(number, kind, reason)
                reason = "OCR of a page before it ended the parser"

    def done(self, cpu_seconds: float) -> None:
        """Note what the child used."""
        self._cpu_seconds = cpu_seconds

    def stopped(self, kind: str, reason: str, remedy: str) -> None:
        """List every page that did not arrive as not read, because the child was stopped."""
        for number in range(self.count):
            if number not in self._pages and number + 1 not in self._problems:
                self._problems[number + 1] = Problem(number + 1, kind, f"Not read: {reason}.", remedy)
        for number in self._unreadable:
            if number + 1 not in self._problems:
                self._not_read(number, kind, reason)

    def finish(self, seconds: float) -> ParsedDocument:
        """Make the document of what has arrived."""
        for number, why in self._unreadable.items():
            if why == "garbled" and number in self._pages:
                page = self._pages[number]
                self._dropped["garbled"] += _characters(page)
                page.pieces = []
        if self._not_hunted > 0:
            reason = f"Looking for tables took too long; {self._not_hunted} places were left out and read as lines."
            self._problems.setdefault(
                None, Problem(None, "tables", reason, "Raise `cpu_seconds`.", unread=False)
            )
        self.stopped("damaged", "it yields no text that can be understood", _REPAIR)
        raw = [self._pages[number] for number in sorted(self._pages)]
        pages, dropped = build_pages(raw, self._outline, self._metadata.title)
        metadata = self._metadata
        if not metadata.title:
            metadata = replace(metadata, title=_title(pages))
        return ParsedDocument(
            pages=pages,
            page_count=self.count,
            metadata=metadata,
            problems=tuple(problem for _, problem in sorted(self._problems.items(), key=_by_page)),
            dropped=dict(self._dropped + Counter(dropped)),
            ocr_pages=tuple(page.number for page in pages if page.ocr),
            seconds=seconds,
            cpu_seconds=self._cpu_seconds,
            ocr_seconds=self._ocr_seconds,
        )

    def _raw_page(self, line: protocol.Line) -> RawPage | None:
        try:
            return read_page(line.page, line.width, line.height, line.json(), line.kind == protocol.OCR)
        except protocol.ProtocolError:
            return None  # Broken off; the child says why in its next line.

    def _not_read(self, number: int, kind: str, message: str) -> None:
        what = (
            "has no text but a picture of it" if self._unreadable[number] == "scanned" else "has garbled text"
        )
        if kind == "ocr-language":
            names = message.split(",")
            packages = " ".join(f"tesseract-ocr-{name.replace('_', '-')}" for name in names)
            reason = f"Tesseract's data for {', '.join(names)} is not installed"
            remedy = f"On Debian or Ubuntu: apt-get install {packages}"
        else:
            reason, remedy = (
                message,
                "See whether the page shows in a PDF viewer; raise the limits if it does.",
            )
        self._problems[number + 1] = Problem(
            number + 1, kind, f"Page {number + 1} {what}, and was not read by OCR: {reason}.", remedy
        )

    def _give_up(self, numbers: Iterable[int], kind: str, why: str, remedy: str) -> None:
        for number in numbers:
            self._not_read(number, kind, why)
            self._problems[number + 1] = replace(self._problems[number + 1], remedy=remedy)


def _by_page(item: tuple[int | None, Problem]) -> int:
    return item[0] or 0


def _characters(page: RawPage) -> int:
    return sum(len("".join(piece.text.split())) for piece in page.pieces)


def _is_garbled(page: RawPage, body: bytes) -> bool:
    characters = _characters(page)
    return characters >= _FEW_CHARACTERS and len(_UNKNOWN.findall(body)) > _GARBLED * characters


def _title(pages: Iterable[Any]) -> str:
    """The first heading of the first page, where the file does not say its title."""
    first = next(iter(pages), None)
    if first is None or first.number != 1:
        return ""
    return next((block.text for block in first.blocks if block.kind == "heading" and block.level == 1), "")
