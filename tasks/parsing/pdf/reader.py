"""One file, read in the child: first the text of all its pages with their tables, then, by OCR, the pages without text.

A limit that stops OCR costs nothing of the text: the parent gets it before OCR begins.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

import orjson

from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.parsing.errors import MORE_OCR_TIME, Stopped
from prefect_ollama.tasks.parsing.pdf import journal, mupdf
from prefect_ollama.tasks.parsing.pdf._annotations import beside_pages, read_annotations
from prefect_ollama.tasks.parsing.pdf._copies import without_copies
from prefect_ollama.tasks.parsing.pdf._layout import RawPage
from prefect_ollama.tasks.parsing.pdf._letter_spacing import without_letter_spacing
from prefect_ollama.tasks.parsing.pdf._line_numbers import without_line_numbers
from prefect_ollama.tasks.parsing.pdf._lines import lines_of
from prefect_ollama.tasks.parsing.pdf._listings import Listings
from prefect_ollama.tasks.parsing.pdf._page_kind import is_garbled, is_scan, is_sparse, unknown_words
from prefect_ollama.tasks.parsing.pdf._paragraphs import of_one_size, read_page
from prefect_ollama.tasks.parsing.pdf._raised_digits import with_raised_digits
from prefect_ollama.tasks.parsing.pdf._right_to_left import in_reading_order
from prefect_ollama.tasks.parsing.pdf._tables import find_tables
from prefect_ollama.tasks.parsing.pdf._text_cleanup import is_plain
from prefect_ollama.tasks.parsing.pdf.assembly import Reading
from prefect_ollama.tasks.parsing.pdf.page_text import Pages
from prefect_ollama.tasks.parsing.sandbox import Talk

# Number of failed pages, without a readable page, after which a file is refused.
_HOPELESS: Final = 100


class Reader:
    """Reads one file.

    Args:
        talk: Where every entry of the journal goes.
    """

    def __init__(self, pages: Pages, talk: Talk, request: Mapping[str, Any]) -> None:
        self._pages = pages
        self._talk = talk
        self._request = request
        self._tables = request["tables"]
        self._kept_back: list[int] = []
        self._kept = False
        self._listings = Listings()
        self.reading = Reading()

    def read(self, document: Any) -> None:
        """Read all there is.

        Raises:
            Stopped: The file has no pages, too many pages, or no readable page.
        """
        count, most = mupdf.page_count(document), self._request["max_pages"]
        if count <= 0:
            raise Stopped("no-pages", "it has no pages")
        if count > most:
            raise Stopped("too-large", f"it says it has {count} pages, and {most} are allowed")
        about = {
            "pages": count,
            "metadata": {key: value for key, value in (document.metadata or {}).items() if value},
            "outline": mupdf.outline(document),
            "repaired": bool(document.is_repaired),
            "beside": beside_pages(document),
        }
        self._talk.pages(count)
        self._add_entry(journal.OPENED, 0, about)
        raw = mupdf.raw(document)
        mupdf.undecoded(pictures=False)  # What was said until here is of no page.
        for number in range(count):
            self._page(raw, number)
            if number + 1 == _HOPELESS and not self.reading.pages:
                raise Stopped("damaged", f"none of its first {_HOPELESS} pages can be read")
        if not self.reading.pages:
            raise Stopped("damaged", f"none of its pages can be read: {self.reading.first_failure}")
        self._add_entry(journal.ALL_READ, 0, {})
        self._talk.all_read()
        self._recognise(document)

    def _add_entry(self, kind: bytes, number: int, content: Any) -> None:
        body = orjson.dumps(content, default=list)
        self.reading.take(kind, number, content)
        self._talk.entry(kind, number, body)

    def _page(self, document: Any, number: int) -> None:
        try:
            with self._pages.text(document, number) as (width, height, blocks, text):
                # Copies first: they would look like letters that are set apart.
                blocks, copied = without_copies(blocks, text)
                blocks = with_raised_digits(blocks)
                keep = self._request["running_heads"] == "keep"
                blocks, numbered = (blocks, 0) if keep else without_line_numbers(blocks)
                blocks = in_reading_order(blocks, text)
                parts = self._listings.apart(without_letter_spacing(blocks, text), len(text))
                lines = lines_of(parts)
                rows = [row for each in lines.values() for row in each.rows()]
                found = find_tables(parts, rows, height) if self._tables and len(rows) > 1 else parts
                page = read_page(number, width, height, found, lines)
                read_annotations(page, self._pages.page, text)
            page.plain, page.copied, page.numbered = is_plain(text), copied, numbered
            why = self._unreadable(document, page, text)
            page.unknown = 0 if why else unknown_words(text)
            page.undecoded = mupdf.undecoded(pictures=not page.pieces)
        except Exception as error:
            if mupdf.kind_of(error) == "memory" and not self._request["allow_partial"]:
                raise Stopped("memory", f"page {number + 1} takes more memory than allowed") from error
            self._failed(journal.PAGE_FAILED, number, error)
            return
        if self._request["allow_partial"]:
            self._add_entry(journal.PAGE, number, page)
            self._send_worth_keeping()
        else:
            self.reading.take(journal.PAGE, number, page)
            self._kept_back.append(number)
        self._talk.read(number)
        if why:
            self._add_entry(journal.UNREADABLE, number, {"why": why})

    def _unreadable(self, document: Any, page: RawPage, text: bytes) -> str:
        """Return why a page needs OCR; empty if it does not."""
        if not page.plain and is_garbled(text):
            return "garbled"
        return (
            "scanned"
            if is_sparse(text) and is_scan(page, self._pages.pictures(document, page.number))
            else ""
        )

    def _recognise(self, document: Any) -> None:
        request = self._request
        most, seconds = request["ocr_max_pages"], request["ocr_seconds"]
        started = time.monotonic()
        done = 0
        for number in self.reading.unreadable:
            left = seconds - (time.monotonic() - started)
            if request["ocr"] == "off":
                self._give_up(number, "ocr-off", "OCR is off", "Use *OCR* (`--ocr`).")
            elif done >= most:
                limit = f"{quantity(most, 'page has', 'pages have')} been read by OCR"
                self._give_up(number, "ocr-limit", limit, "Raise *OCR pages* (`--ocr-max-pages`).")
            elif left <= 0:
                limit = f"OCR of this file has taken {seconds:g} s"
                self._give_up(number, "ocr-limit", limit, MORE_OCR_TIME)
            else:
                self._send_kept_back_pages()
                self._talk.begin_extra(number, left)
                done += self._recognise_page(document, number)

    def _send_kept_back_pages(self) -> None:
        """Send all pages before a step that must not lose them."""
        for number in self._kept_back:
            self._talk.entry(journal.PAGE, number, orjson.dumps(self.reading.pages[number], default=list))
        self._kept_back.clear()
        self._send_worth_keeping()

    def _send_worth_keeping(self) -> None:
        """Send once that the entries so far make a document."""
        if not self._kept:
            self._talk.worth_keeping()
            self._kept = True

    def _recognise_page(self, document: Any, number: int) -> bool:
        began = time.monotonic()
        mupdf.undecoded(pictures=True)  # What was said until here is of another page.
        languages = self._request["ocr_languages"]
        try:
            tessdata = mupdf.tessdata_for(languages, self._request["tessdata"])
            with self._pages.ocr(
                document,
                number,
                dpi=self._request["ocr_dpi"],
                languages="+".join(languages),
                tessdata=tessdata,
            ) as (width, height, blocks, _):
                page = read_page(number, width, height, of_one_size(blocks), {}, ocr=True)
            page.undecoded = mupdf.undecoded(pictures=True) if not page.pieces else ""
            page.seconds = time.monotonic() - began
            self._add_entry(journal.OCR, number, page)
        except Exception as error:
            self._failed(journal.OCR_FAILED, number, error, time.monotonic() - began)
            return False
        return True

    def _failed(self, kind: bytes, number: int, error: Exception, seconds: float = 0.0) -> None:
        if isinstance(error, BrokenPipeError):
            raise error
        mupdf.undecoded(pictures=False)  # What was said of this page is of no other one.
        what, message = mupdf.kind_of(error), mupdf.short(error)
        if what == "memory":
            message = "it takes more memory than allowed"
        elif kind == journal.OCR_FAILED and not isinstance(error, Stopped):
            what = "ocr"
        self._add_entry(kind, number, {"kind": what, "message": message, "seconds": seconds})

    def _give_up(self, number: int, kind: str, why: str, remedy: str) -> None:
        self._add_entry(journal.OCR_FAILED, number, {"kind": kind, "message": why, "remedy": remedy})
