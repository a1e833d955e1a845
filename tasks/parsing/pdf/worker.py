"""PDF in the child process: opens a file with MuPDF, reads it and makes the document."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prefect_ollama.tasks.parsing.document import ParsedDocument
from prefect_ollama.tasks.parsing.pdf import mupdf
from prefect_ollama.tasks.parsing.pdf._picture import draw, page_as_read, places_of
from prefect_ollama.tasks.parsing.pdf.assembly import Reading, from_journal
from prefect_ollama.tasks.parsing.pdf.page_text import Pages
from prefect_ollama.tasks.parsing.pdf.reader import Reader
from prefect_ollama.tasks.parsing.sandbox import Talk, protocol


class PdfReader:
    """Reads PDF files, one at a time.

    Args:
        setup: `PdfFormat.setup`; without it OCR finds its data by itself.

    Attributes:
        readable: The folder of Tesseract's language data.
    """

    def __init__(self, setup: Mapping[str, Any]) -> None:
        mupdf.silence()
        self._tessdata = mupdf.find_tessdata(setup.get("tessdata", "")) if setup.get("ocr", True) else ""
        self._pages = Pages()
        self.readable = [self._tessdata] if self._tessdata else []

    def read(self, file: int, request: Mapping[str, Any], talk: Talk) -> ParsedDocument:
        """Read a file; raise what `refusal` explains."""
        reader = Reader(self._pages, talk, {**request, "tessdata": self._tessdata})
        with mupdf.opened(file, request["passwords"]) as document:
            reader.read(document)
        return _make_document(reader.reading, request, talk)

    def replay(
        self,
        journal: Iterator[protocol.Line],
        stopped: tuple[str, str, str],
        request: Mapping[str, Any],
        talk: Talk,
    ) -> ParsedDocument:
        """Make the document of the journal of a child that was stopped."""
        reading = Reading()
        for line in journal:
            reading.take(line.kind, line.page, from_journal(line.kind, line.json()))
        reading.stopped(*stopped)
        return _make_document(reading, request, talk)

    def draw(
        self,
        file: int,
        request: Mapping[str, Any],
        page: int,
        marks: Sequence[Sequence[float]],
        dpi: int,
        quoted: Mapping[str, Any] | None = None,
    ) -> tuple[bytes, float]:
        """Return a page as PNG with rectangles or a quote marked, and its share; raise what `refusal` explains."""
        with mupdf.opened(file, request["passwords"]) as document:
            shown = page_as_read(self._pages, document, page)
            if quoted is None:
                return draw(shown, marks, dpi), 0.0
            places, share = places_of(shown, marks, quoted)
            return (draw(shown, places, dpi) if places else b""), share

    def refusal(self, error: Exception) -> tuple[str, str]:
        """Return the kind and the reason of an error."""
        return mupdf.kind_of(error), f"it cannot be read ({mupdf.short(error)})"


def make_reader(setup: Mapping[str, Any]) -> PdfReader:
    """Return a reader of PDF files."""
    return PdfReader(setup)


def _make_document(reading: Reading, request: Mapping[str, Any], talk: Talk) -> ParsedDocument:
    talk.make()
    return reading.make(running_heads=request["running_heads"] == "keep")
