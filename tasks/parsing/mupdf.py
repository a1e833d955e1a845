"""MuPDF as the child uses it: a file opened in safety, and pages printed as structured text.

It calls MuPDF's own functions where PyMuPDF's would build Python objects for every line of text. Importing this
module imports PyMuPDF, so only the child does.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from prefect_ollama.tasks.parsing import protocol

# `import pymupdf` tries this package, which brings onnxruntime along: 0.6 CPU-seconds and 60 MB that plain
# text has no use for. None in sys.modules is how Python spells "do not import".
sys.modules["pymupdf.layout"] = None  # type: ignore[assignment]
# By name, because PyMuPDF says it is typed and is not.
pymupdf: Any = importlib.import_module("pymupdf")
mupdf: Any = importlib.import_module("pymupdf.mupdf")

# MuPDF prints whole numbers: tenths of a point.
SCALE: Final = 10.0
TEXT: Final[int] = mupdf.FZ_STEXT_CLIP
PICTURES: Final[int] = TEXT | mupdf.FZ_STEXT_PRESERVE_IMAGES
TABLES: Final[int] = (
    TEXT | mupdf.FZ_STEXT_SEGMENT | mupdf.FZ_STEXT_COLLECT_VECTORS | mupdf.FZ_STEXT_TABLE_HUNT
)
# No page is drawn for OCR with more pixels than this, whatever size it says it has.
_OCR_PIXELS: Final = 25_000_000


def _zoomed(factor: float) -> Any:
    matrix = mupdf.fz_matrix()
    matrix.a = matrix.d = factor
    return matrix


_PLAIN: Final[Any] = _zoomed(1.0)


class Refused(Exception):
    """The file, or this page of it, cannot be read; `kind` is the word for reports."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


_OPEN_FILES: Final = next((folder for folder in ("/proc/self/fd", "/dev/fd") if Path(folder).is_dir()), None)
_OUT_OF_MEMORY: Final = ("malloc", "calloc", "realloc", "out of memory", "memoryerror", "bad_alloc")


def silence() -> None:
    """Keep MuPDF's own messages off the standard output."""
    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)


def kind_of(error: BaseException) -> str:
    """Say what an exception of MuPDF means."""
    if isinstance(error, Refused):
        return error.kind
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(word in text for word in _OUT_OF_MEMORY):
        return "memory"
    return "damaged"


def short(error: BaseException) -> str:
    """Give the message of an exception in one line of bounded length."""
    message = str(error).partition("Traceback")[0]
    return " ".join(message.split())[:200] or type(error).__name__


@contextlib.contextmanager
def opened(path: bytes, passwords: list[str]) -> Iterator[Any]:
    """Open a PDF once, without waiting for anything, and only when it is a regular file.

    Raises:
        Refused: It is none, or cannot be opened.
    """
    flags = (
        os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        fd = os.open(path, flags)
    except FileNotFoundError as error:
        raise Refused("missing", "there is no such file any more") from error
    except OSError as error:
        raise Refused("unreadable", f"it cannot be opened ({error.strerror})") from error
    try:
        _look(fd)
        # By its descriptor: the very file that was looked at, and no trouble with odd names.
        try:
            name = f"{_OPEN_FILES}/{fd}" if _OPEN_FILES else os.fsdecode(path)
            document = pymupdf.open(name, filetype="pdf")
        except Exception as error:
            if kind_of(error) == "memory":
                raise Refused("memory", "opening it takes more memory than allowed") from error
            raise Refused("damaged", f"it begins as a PDF, but cannot be opened ({short(error)})") from error
        try:
            # Only then: a wrong password on a file that opens without one empties its text.
            if document.needs_pass:
                _authenticate(document, passwords)
            yield document
        finally:
            document.close()
    finally:
        os.close(fd)


def _look(fd: int) -> None:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise Refused("not-a-file", "it is not a regular file")
    if status.st_size == 0:
        raise Refused("empty", "it has no content (0 bytes)")
    # Readers look for the mark in the first KiB; without it MuPDF would search the whole file for objects.
    if b"%PDF-" not in os.read(fd, 8192):
        raise Refused("not-a-pdf", "it does not begin as a PDF does")
    os.lseek(fd, 0, os.SEEK_SET)


def _authenticate(document: Any, passwords: list[str]) -> None:
    if any(document.authenticate(password) for password in passwords):
        return
    number = len(passwords)
    if not number:
        raise Refused("encrypted", "it is encrypted, and no password was given for it")
    raise Refused("encrypted", f"it is encrypted, and none of the {number} passwords given for it fits")


def raw(document: Any) -> Any:
    """Give MuPDF's own document of a PyMuPDF one; valid as long as that is open."""
    this = document.this
    return (this if isinstance(this, mupdf.FzDocument) else this.super()).m_internal


def outline(document: Any) -> list[list[Any]]:
    """Give the file's own table of contents as [level, title, page counted from 1]."""
    try:
        return [[level, title, page] for level, title, page, *_ in document.get_toc(simple=True)]
    except Exception:
        # A broken outline is no reason to leave the pages unread: headings are found by their type then.
        return []


class Answers:
    """The pipe to the parent. Every line is sent at once: what was said before a kill is not lost."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = mupdf.ll_fz_new_buffer(2**16)
        self._output = mupdf.ll_fz_new_output_with_buffer(self._buffer)

    def say(self, kind: bytes, body: Any, page: int = 0) -> None:
        """Send a line with a JSON body."""
        self._write(b"%b%b\n" % (protocol.head(kind, page), orjson.dumps(body)))

    def print_page(
        self, document: Any, kind: bytes, number: int, flags: int, region: list[float] | None = None
    ) -> None:
        """Send the structured text of one page or of a region on it, annotations and form fields included."""
        options = mupdf.fz_stext_options()
        options.flags = flags
        if region:
            options.flags |= mupdf.FZ_STEXT_CLIP_RECT
            options.clip.x0, options.clip.y0, options.clip.x1, options.clip.y1 = region
        page = mupdf.ll_fz_load_page(document, number)
        try:
            self._print(page, kind, number, options, _PLAIN, None)
        finally:
            mupdf.ll_fz_drop_page(page)

    def print_ocr(self, document: Any, number: int, *, dpi: int, languages: str, tessdata: str) -> None:
        """Send what Tesseract reads on a picture of the page, in the coordinates of the page."""
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
                size = (page.rect.width, page.rect.height)
                self._print(layer, protocol.OCR, number, mupdf.fz_stext_options(), _zoomed(zoom), size)
            finally:
                mupdf.ll_fz_drop_page(layer)

    def _print(
        self, page: Any, kind: bytes, number: int, options: Any, matrix: Any, size: tuple[float, float] | None
    ) -> None:
        box = mupdf.ll_fz_bound_page(page)
        stext = mupdf.ll_fz_new_stext_page(box)
        try:
            device = mupdf.ll_fz_new_stext_device(stext, options)
            try:
                mupdf.ll_fz_run_page(page, device, matrix, None)
                mupdf.ll_fz_close_device(device)
            finally:
                mupdf.ll_fz_drop_device(device)
            width, height = size or (box.x1 - box.x0, box.y1 - box.y0)
            mupdf.ll_fz_clear_buffer(self._buffer)
            mupdf.ll_fz_print_stext_page_as_json(self._output, stext, SCALE)
            body = mupdf.ll_fz_buffer_to_bytes_internal(self._buffer, 0)
            if len(body) > protocol.LONGEST_PAGE:
                raise Refused("too-large", f"it yields {len(body) >> 20} MiB of text")
            if b"\n" in body:  # MuPDF puts one after a grid.
                body = body.replace(b"\n", b" ")
            self._write(b"%b%b\n" % (protocol.head(kind, number, width, height), body))
        finally:
            mupdf.ll_fz_drop_stext_page(stext)

    def _write(self, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[os.write(self._fd, view) :]


def tessdata_for(languages: list[str], folder: str) -> str:
    """Find Tesseract's data for all the languages.

    Raises:
        Refused: "ocr-language" with the names of those that are missing.
    """
    try:
        found = pymupdf.get_tessdata(folder or None)
    except Exception:
        found = None
    missing = [name for name in languages if not found or not (Path(found) / f"{name}.traineddata").is_file()]
    if missing:
        raise Refused("ocr-language", ",".join(missing))
    return str(found)
