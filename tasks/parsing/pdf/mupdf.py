"""Use MuPDF in the child: open a file safely, read its outline, explain its exceptions.

Importing this module imports PyMuPDF, so only the child does.
"""

import contextlib
import importlib
import mmap
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from prefect_ollama.tasks.parsing.errors import Stopped

# `import pymupdf` tries these packages, which bring numpy and onnxruntime along: more than half of the time that it
# takes and of the memory, of no use to plain text. None in sys.modules is how Python spells "do not import".
sys.modules["pymupdf.layout"] = sys.modules["pymupdf4llm"] = None  # type: ignore[assignment]
# By name, because PyMuPDF says it is typed and is not.
pymupdf: Any = importlib.import_module("pymupdf")
mupdf: Any = importlib.import_module("pymupdf.mupdf")

# Entries of an outline. A hostile file may have one that loops.
_MAX_OUTLINE_ENTRIES: Final = 100_000


# Messages about streams that end early or cannot be decoded, after which MuPDF goes on with what it has; and those
# about pictures, which matter where a page is a picture of its text.
_UNDECODED: Final = re.compile(r"zlib error|unknown filter|premature end of data|treating as end of file")
_UNDECODED_PICTURE: Final = re.compile(rf"{_UNDECODED.pattern}|truncated image|JPX")
# Only the text of MuPDF's errors shows that memory ran out.
_OUT_OF_MEMORY: Final = ("malloc", "calloc", "realloc", "out of memory", "memoryerror", "bad_alloc")


def silence() -> None:
    """Keep MuPDF's own messages off the standard output."""
    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)


def undecoded(*, pictures: bool) -> str:
    """Return MuPDF's first message since the last call about content that it cannot decode; empty without one.

    Args:
        pictures: Whether the content of pictures counts.
    """
    pattern = _UNDECODED_PICTURE if pictures else _UNDECODED
    return next((line for line in pymupdf.TOOLS.mupdf_warnings().splitlines() if pattern.search(line)), "")


def kind_of(error: BaseException) -> str:
    """Return what an exception of MuPDF means."""
    if isinstance(error, Stopped):
        return error.kind
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(word in text for word in _OUT_OF_MEMORY):
        return "memory"
    return "damaged"


def short(error: BaseException) -> str:
    """Return the message of an exception in one line of bounded length."""
    message = str(error).partition("Traceback")[0]
    return " ".join(message.split())[:200] or type(error).__name__


@contextlib.contextmanager
def opened(file: int, passwords: list[str]) -> Iterator[Any]:
    """Open a PDF, only when it is a regular file.

    Args:
        file: A descriptor of it, which stays open.
        passwords: Tried in this order where it needs one.

    Raises:
        Stopped: The file is not a PDF, or cannot be opened.
    """
    with _mapped(file) as view, _document(view, passwords) as document:
        yield document


@contextlib.contextmanager
def _mapped(fd: int) -> Iterator[memoryview]:
    """Return the content of a file as memory that the kernel fills as it is read.

    MuPDF would open a name, which a confined process may not; of a descriptor it knows nothing.
    """
    _look(fd)
    try:
        content = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise Stopped("unreadable", f"it cannot be read ({why})") from error
    view = memoryview(content)
    try:
        yield view
    finally:
        # Objects that refer to the memory after an error keep it alive until they are deleted.
        with contextlib.suppress(BufferError):
            view.release()
            content.close()


@contextlib.contextmanager
def _document(view: memoryview, passwords: list[str]) -> Iterator[Any]:
    try:
        document = pymupdf.open(stream=view, filetype="pdf")
    except Exception as error:
        if kind_of(error) == "memory":
            raise Stopped("memory", "opening it takes more memory than allowed") from error
        raise Stopped("damaged", f"it begins as a PDF, but cannot be opened ({short(error)})") from error
    try:
        # Only then: a wrong password on a file that opens without one empties its text.
        if document.needs_pass:
            _authenticate(document, passwords)
        yield document
    finally:
        document.close()
        document.stream = None


def _look(fd: int) -> None:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise Stopped("not-a-file", "it is not a regular file")
    if status.st_size == 0:
        raise Stopped("empty", "it has no content (0 bytes)")
    # Readers look for the mark in the first KiB; without it MuPDF would search the whole file for objects.
    if b"%PDF-" not in os.pread(fd, 8192, 0):
        raise Stopped("not-a-pdf", "it does not begin as a PDF does")


def _authenticate(document: Any, passwords: list[str]) -> None:
    if any(document.authenticate(password) for password in passwords):
        return
    number = len(passwords)
    if not number:
        raise Stopped("encrypted", "it is encrypted, and no password was given for it")
    raise Stopped("encrypted", f"it is encrypted, and none of the {number} passwords given for it fits")


def raw(document: Any) -> Any:
    """Return MuPDF's own document of a PyMuPDF one; it is valid as long as that is open."""
    this = document.this
    return (this if isinstance(this, mupdf.FzDocument) else this.super()).m_internal


def uncropped(page: Any) -> bool:
    """Give a page its whole MediaBox if its CropBox shows nothing of that, and return whether to load it again.

    MuPDF would show such a page empty. Other readers show all of it
    (https://github.com/mozilla/pdf.js/blob/master/src/core/document.js, `Page.view`).

    Args:
        page: A page as MuPDF has it.
    """
    entries = mupdf.ll_pdf_page_from_fz_page(page).obj
    crop = mupdf.ll_pdf_dict_gets_inheritable(entries, "CropBox")
    if crop is None:
        return False
    media = mupdf.ll_pdf_dict_gets_inheritable(entries, "MediaBox")
    whole = mupdf.ll_pdf_to_rect(media)
    left = mupdf.ll_fz_intersect_rect(mupdf.ll_pdf_to_rect(crop), whole)
    if mupdf.ll_fz_is_empty_rect(whole) or not mupdf.ll_fz_is_empty_rect(left):
        return False
    mupdf.ll_pdf_dict_puts(entries, "CropBox", media)
    return True


def page_count(document: Any) -> int:
    """Return the number of pages. MuPDF repairs a file that it cannot open, but not one that then has no pages."""
    if not document.page_count and not document.is_repaired:
        with contextlib.suppress(Exception):
            mupdf.ll_pdf_repair_xref(mupdf.ll_pdf_document_from_fz_document(raw(document)))
    return int(document.page_count)


def outline(document: Any) -> list[tuple[int, str, int]]:
    """Return the file's own table of contents as level, title and page; level and page count from 1."""
    found: list[tuple[int, str, int]] = []
    # PyMuPDF loads it with the document. Of a file with a broken outline there is none: the file is still read, and its
    # headings are found by their type.
    first = document.outline
    waiting = [(first.this.m_internal if first else None, 1)]
    while waiting and len(found) < _MAX_OUTLINE_ENTRIES:
        entry, level = waiting.pop()
        while entry:
            found.append((level, entry.title or "", entry.page.page + 1))
            if entry.down:
                waiting.append((entry.next, level))
                entry, level = entry.down, level + 1
            else:
                entry = entry.next
    return found


def find_tessdata(folder: str) -> str:
    """Return the folder of Tesseract's language data, if necessary by asking Tesseract; empty if it is not found.

    The call may start a program, so it is made before the process is confined.
    """
    try:
        return str(pymupdf.get_tessdata(folder or None) or "")
    except Exception:
        return ""


def tessdata_for(languages: list[str], folder: str) -> str:
    """Return the folder if it holds Tesseract's data for all the languages.

    Raises:
        Stopped: "ocr-language", with the names of the missing languages.
    """
    missing = [
        name for name in languages if not folder or not (Path(folder) / f"{name}.traineddata").is_file()
    ]
    if missing:
        raise Stopped("ocr-language", ",".join(missing))
    return folder
