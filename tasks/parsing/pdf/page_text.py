"""The text of pages as MuPDF reads it, or Tesseract in a picture of the page, and where a page has pictures.

It calls MuPDF's own functions where PyMuPDF's would build Python objects for every line of text.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson

from prefect_ollama.tasks.parsing.errors import Stopped
from prefect_ollama.tasks.parsing.pdf._accents import with_accents
from prefect_ollama.tasks.parsing.pdf._layout import SCALE
from prefect_ollama.tasks.parsing.pdf._page_rotation import angle_of, turn
from prefect_ollama.tasks.parsing.pdf._rtl_ligatures import with_ligatures_in_order
from prefect_ollama.tasks.parsing.pdf._stext import StructuredText, TextBlock, from_json, json_box
from prefect_ollama.tasks.parsing.pdf._tex_codes import as_signs, has_codes
from prefect_ollama.tasks.parsing.pdf.mupdf import mupdf, pymupdf, raw, uncropped

# Maximum pixels of a page that is drawn for OCR, for any declared page size.
_OCR_PIXELS: Final = 25_000_000
# The text of one page with its structure, in bytes: some hundred thousand lines. Decoded it takes ten times as much.
_MAX_PAGE_BYTES: Final = 2**25


def _zoomed(factor: float) -> Any:
    matrix = mupdf.fz_matrix()
    matrix.a = matrix.d = factor
    return matrix


def _options(flags: int) -> Any:
    options = mupdf.fz_stext_options()
    options.flags = flags
    return options


# Made once, because every page needs them.
_PLAIN: Final[Any] = _zoomed(1.0)
# CLIP leaves out text outside of the page, which no reader sees.
_TEXT: Final[Any] = _options(mupdf.FZ_STEXT_CLIP)
# To find pictures, a page is read a second time, so it is done only for pages with little text.
_PICTURES: Final[Any] = _options(mupdf.FZ_STEXT_CLIP | mupdf.FZ_STEXT_PRESERVE_IMAGES)
_OCR: Final[Any] = _options(0)


class PageText(NamedTuple):
    """The text of one page.

    Attributes:
        text: All of it in UTF-8, a line for each of its lines and an empty one after each block.
    """

    width: float
    height: float
    blocks: list[TextBlock]
    text: bytes


class Pages:
    """Reads pages, with the annotations and form fields that they show.

    Attributes:
        page: MuPDF's page within the context of `text`.
    """

    def __init__(self) -> None:
        self.page: Any = None
        self._buffer = mupdf.ll_fz_new_buffer(2**16)
        self._output = mupdf.ll_fz_new_output_with_buffer(self._buffer)
        self._memory = StructuredText(mupdf)
        self._compare_memory()

    def _compare_memory(self) -> None:
        """Read a page with several blocks and lines, so that it is compared: the first page of a file may be empty."""
        with pymupdf.open() as document:
            page = document.new_page()
            page.insert_text((50, 50), ["Two lines", "in one block"])
            page.insert_text((50, 500), "Another block")
            with self.text(raw(document), 0):
                pass

    @contextlib.contextmanager
    def text(self, document: Any, number: int, *, turned: bool = False) -> Iterator[PageText]:
        """Read one page, which stays in memory until the context ends. A sideways page is turned upright first.

        Args:
            turned: Whether the page was turned already.

        Raises:
            Stopped: It yields more text than any page may.
        """
        page = mupdf.ll_fz_load_page(document, number)
        if uncropped(page):
            mupdf.ll_fz_drop_page(page)
            page = mupdf.ll_fz_load_page(document, number)
        try:
            self.page = page
            with _structured(page, _TEXT, _PLAIN) as (structured, box):
                text = self._text(structured, box.x1 - box.x0, box.y1 - box.y0)
                angle = 0 if turned else angle_of(text.blocks)
                if not angle:
                    yield text
                    return
            turn(page, angle)
        finally:
            self.page = None
            mupdf.ll_fz_drop_page(page)
        with self.text(document, number, turned=True) as text:
            yield text

    def pictures(self, document: Any, number: int) -> list[tuple[float, float, float, float]]:
        """Return where a page has pictures, as rectangles in points."""
        page = mupdf.ll_fz_load_page(document, number)
        try:
            with _structured(page, _PICTURES, _PLAIN) as (structured, _):
                blocks = self._json(structured)["blocks"]
        finally:
            mupdf.ll_fz_drop_page(page)
        return [json_box(block["bbox"], SCALE) for block in blocks if block["type"] == "image"]

    @contextlib.contextmanager
    def ocr(
        self, document: Any, number: int, *, dpi: int, languages: str, tessdata: str
    ) -> Iterator[PageText]:
        """Read with Tesseract a picture of the page, in the coordinates of the page; as `text` otherwise."""
        page = document[number]
        area = max(1.0, page.rect.width * page.rect.height)
        dpi = max(1, min(dpi, int(72 * (_OCR_PIXELS / area) ** 0.5)))
        # In colour: of a grey picture MuPDF's Tesseract reads nothing, and says nothing either.
        pixmap = page.get_pixmap(dpi=dpi, colorspace=pymupdf.csRGB)
        with pymupdf.open(
            stream=pixmap.pdfocr_tobytes(compress=False, language=languages, tessdata=tessdata),
            filetype="pdf",
        ) as read:
            layer = mupdf.ll_fz_load_page(raw(read), 0)
            try:
                box = mupdf.ll_fz_bound_page(layer)
                zoom = page.rect.width / max(1.0, box.x1 - box.x0)
                with _structured(layer, _OCR, _zoomed(zoom)) as (structured, _):
                    yield self._text(structured, page.rect.width, page.rect.height)
            finally:
                mupdf.ll_fz_drop_page(layer)

    def _text(self, structured: Any, width: float, height: float) -> PageText:
        mupdf.ll_fz_clear_buffer(self._buffer)
        mupdf.ll_fz_print_stext_page_as_text(self._output, structured)
        text = self._printed()
        decoded = text.decode("utf-8", "replace")
        if has_codes(text):
            decoded = as_signs(decoded)
            text = decoded.encode("utf-8", "replace")
        blocks = self._memory.read(structured, decoded)
        if blocks is None:
            blocks = from_json(self._json(structured), SCALE)
        blocks, text = with_accents(with_ligatures_in_order(blocks, text), text)
        return PageText(width, height, blocks, text)

    def _json(self, structured: Any) -> dict[str, Any]:
        mupdf.ll_fz_clear_buffer(self._buffer)
        mupdf.ll_fz_print_stext_page_as_json(self._output, structured, SCALE)
        body = self._printed()
        try:
            decoded: dict[str, Any] = orjson.loads(body)
        except orjson.JSONDecodeError:  # Lone surrogates, where a font's character map holds some.
            decoded = orjson.loads(body.decode("utf-8", "replace"))
        return decoded

    def _printed(self) -> bytes:
        body: bytes = mupdf.ll_fz_buffer_to_bytes_internal(self._buffer, 0)
        if len(body) > _MAX_PAGE_BYTES:
            raise Stopped("too-large", f"it yields {len(body) >> 20} MiB of text")
        return body


@contextlib.contextmanager
def _structured(page: Any, options: Any, matrix: Any) -> Iterator[tuple[Any, Any]]:
    """Return the structured text of a page, and its rectangle."""
    box = mupdf.ll_fz_bound_page(page)
    structured = mupdf.ll_fz_new_stext_page(box)
    try:
        device = mupdf.ll_fz_new_stext_device(structured, options)
        try:
            mupdf.ll_fz_run_page(page, device, matrix, None)
            mupdf.ll_fz_close_device(device)
        finally:
            mupdf.ll_fz_drop_device(device)
        yield structured, box
    finally:
        mupdf.ll_fz_drop_stext_page(structured)
