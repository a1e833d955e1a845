"""The process that touches the file: `python -m prefect_ollama.tasks.parsing.child`.

It reads requests on its standard input and writes frames to its standard output, one page at a time. It may
die at any moment, by a limit of its own or by its parent's hand; what it wrote until then is whole.
It imports neither Prefect nor the layout package that PyMuPDF loads by default, and opens a file once, without
waiting (a FIFO would block), and only when it is a regular one.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from prefect_ollama.tasks.parsing import protocol

# `import pymupdf` tries this package, which brings onnxruntime along: 0.6 CPU-seconds and 60 MB that plain
# text needs none of. None in sys.modules is how Python spells "do not import".
sys.modules["pymupdf.layout"] = None  # type: ignore[assignment]
# By name, because PyMuPDF says it is typed and is not.
pymupdf: Any = importlib.import_module("pymupdf")
mupdf: Any = importlib.import_module("pymupdf.mupdf")

try:
    import resource
except ImportError:  # Windows has none; the parent's clock still holds.
    resource = None  # type: ignore[assignment]

# Coordinates and font sizes come as whole numbers: tenths of a point.
SCALE = 10.0
TEXT = mupdf.FZ_STEXT_CLIP
IMAGES = TEXT | mupdf.FZ_STEXT_PRESERVE_IMAGES
TABLES = TEXT | mupdf.FZ_STEXT_SEGMENT | mupdf.FZ_STEXT_COLLECT_VECTORS | mupdf.FZ_STEXT_TABLE_HUNT
# Below this many bytes of structured text a page may be a picture: some ten lines.
FEW_BYTES = 3000
# No page is drawn for OCR with more pixels than this, whatever size it says it has.
OCR_PIXELS = 25_000_000


class Refused(Exception):
    """The file as a whole cannot be read; `kind` is the word for reports."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class _Limits:
    """Limits of this process, set anew for every file: on top of what it uses at rest."""

    def __init__(self) -> None:
        self._at_rest = _memory_pages() * _page_size()

    def apply(self, request: dict[str, Any]) -> None:
        if resource is None:
            return
        self._cpu(request["cpu_seconds"])
        # A last resort for a child whose parent was killed: the parent's own clock runs out before.
        signal.setitimer(signal.ITIMER_REAL, request["wall_seconds"] + 10)
        if self._at_rest:
            self._soft(resource.RLIMIT_AS, self._at_rest + request["memory_mb"] * 2**20)
        self._soft(resource.RLIMIT_CORE, 0)
        self._soft(resource.RLIMIT_FSIZE, 2**20)

    def more_time(self, seconds: float) -> None:
        if resource is None:
            return
        self._cpu(seconds)
        signal.setitimer(signal.ITIMER_REAL, seconds + 10)

    def lift(self) -> None:
        if resource is None:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        for which in (resource.RLIMIT_CPU, resource.RLIMIT_AS):
            self._soft(which, resource.getrlimit(which)[1])

    def _cpu(self, seconds: float) -> None:
        self._soft(resource.RLIMIT_CPU, int(_cpu_seconds() + seconds) + 1)

    @staticmethod
    def _soft(which: int, value: int) -> None:
        hard = resource.getrlimit(which)[1]
        if hard != resource.RLIM_INFINITY and value != resource.RLIM_INFINITY:
            value = min(value, hard)
        # macOS refuses a limit on the address space; there the parent's clock and the CPU limit remain.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(which, (value, hard))


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system


def _memory_pages(resident: bool = False) -> int:
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123
            return int(file.read().split()[1 if resident else 0])
    except OSError:
        return 0


def _page_size() -> int:
    return os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def _kind_of(error: BaseException) -> str:
    text = str(error).lower()
    if isinstance(error, MemoryError) or "malloc" in text or "out of memory" in text or "calloc" in text:
        return "memory"
    return "damaged"


@contextlib.contextmanager
def _opened(path: bytes, passwords: list[str]) -> Iterator[Any]:
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
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("not-a-file", "it is not a regular file")
        if status.st_size == 0:
            raise Refused("empty", "it has no content (0 bytes)")
        if b"%PDF-" not in os.read(fd, 8192):
            raise Refused("not-a-pdf", "it does not begin as a PDF does")
        os.lseek(fd, 0, os.SEEK_SET)
        # By its descriptor: the same file that was looked at, and no trouble with odd names.
        folder = next((d for d in ("/proc/self/fd", "/dev/fd") if Path(d).is_dir()), None)
        name = f"{folder}/{fd}" if folder else os.fsdecode(path)
        try:
            document = pymupdf.open(name, filetype="pdf")
        except Exception as error:
            if _kind_of(error) == "memory":
                raise Refused("memory", "opening it takes more memory than allowed") from error
            raise Refused("damaged", f"it begins as a PDF, but cannot be opened ({_short(error)})") from error
        try:
            if document.needs_pass:
                _authenticate(document, passwords)
            yield document
        finally:
            document.close()
            mupdf.fz_empty_store()
    finally:
        os.close(fd)


def _authenticate(document: Any, passwords: list[str]) -> None:
    if any(document.authenticate(password) for password in passwords):
        return
    tried = (
        f"none of the {len(passwords)} passwords given for it fits"
        if passwords
        else "no password was given for it"
    )
    raise Refused("encrypted", f"it is encrypted, and {tried}")


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _structured_text(page: Any, flags: int) -> bytes:
    options = mupdf.fz_stext_options()
    options.flags = flags
    stext = mupdf.ll_fz_new_stext_page_from_page(page, options)
    try:
        return _as_json(stext)
    finally:
        mupdf.ll_fz_drop_stext_page(stext)


def _as_json(stext: Any) -> bytes:
    buffer = mupdf.ll_fz_new_buffer(16384)
    try:
        output = mupdf.ll_fz_new_output_with_buffer(buffer)
        try:
            mupdf.ll_fz_print_stext_page_as_json(output, stext, SCALE)
            mupdf.ll_fz_close_output(output)
        finally:
            mupdf.ll_fz_drop_output(output)
        body: bytes = mupdf.ll_fz_buffer_to_bytes_internal(buffer, 0)
        return body
    finally:
        mupdf.ll_fz_drop_buffer(buffer)


class _Session:
    """One request: a document from its opening to the last page."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO, limits: _Limits) -> None:
        self._requests = requests
        self._answers = answers
        self._limits = limits

    def run(self, request: dict[str, Any]) -> None:
        cpu = _cpu_seconds()
        self._limits.apply(request)
        try:
            with _opened(bytes.fromhex(request["path"]), request["passwords"]) as document:
                self._read(document, request)
        except Refused as error:
            protocol.write_json(self._answers, protocol.FAILED, {"kind": error.kind, "message": str(error)})
        except (EOFError, BrokenPipeError):
            raise
        except Exception as error:
            protocol.write_json(
                self._answers,
                protocol.FAILED,
                {
                    "kind": _kind_of(error),
                    "message": f"it cannot be read ({_short(error)})",
                },
            )
        self._limits.lift()
        protocol.write_json(
            self._answers,
            protocol.DONE,
            {"cpu_seconds": _cpu_seconds() - cpu, "memory_mb": _memory_pages(True) * _page_size() / 2**20},
        )

    def _read(self, document: Any, request: dict[str, Any]) -> None:
        count = document.page_count
        if count <= 0:
            raise Refused("no-pages", "it has no pages")
        if count > request["max_pages"]:
            raise Refused(
                "too-large", f"it says it has {count} pages, and {request['max_pages']} are allowed"
            )
        protocol.write_json(
            self._answers,
            protocol.OPENED,
            {
                "pages": count,
                "metadata": {k: v for k, v in (document.metadata or {}).items() if v},
                "outline": _outline(document),
                "repaired": bool(document.is_repaired),
            },
        )
        raw = _raw(document)
        for number in range(count):
            self._page(raw, number, protocol.PAGE, TEXT)
        protocol.write_json(self._answers, protocol.TEXT_DONE, {})
        self._more(document, raw)

    def _page(self, raw: Any, number: int, kind: int, flags: int) -> None:
        try:
            page = mupdf.ll_fz_load_page(raw, number)
            try:
                body = _structured_text(page, flags)
                if kind == protocol.PAGE and len(body) < FEW_BYTES:
                    body = _structured_text(page, IMAGES)
                box = mupdf.ll_fz_bound_page(page)
            finally:
                mupdf.ll_fz_drop_page(page)
        except Exception as error:
            self._page_failed(number, error)
            return
        size = protocol.PAGE_SIZE.pack(box.x1 - box.x0, box.y1 - box.y0)
        protocol.write_frame(self._answers, kind, number, size + body)

    def _page_failed(self, number: int, error: BaseException, kind: str = "") -> None:
        body = {"kind": kind or _kind_of(error), "message": _short(error)}
        protocol.write_json(self._answers, protocol.PAGE_FAILED, body, number)

    def _more(self, document: Any, raw: Any) -> None:
        frame = protocol.read_frame(self._requests, 2**24)
        if frame is None:
            raise EOFError
        request = orjson.loads(frame[2])
        for number in request["tables"]:
            self._page(raw, number, protocol.TABLES, TABLES)
        if request["ocr"]:
            self._limits.more_time(request["ocr_seconds"])
        for number in request["ocr"]:
            try:
                self._ocr(document, number, request)
            except Exception as error:
                self._page_failed(number, error, "ocr")

    def _ocr(self, document: Any, number: int, request: dict[str, Any]) -> None:
        page = document[number]
        area = max(1.0, page.rect.width * page.rect.height)
        dpi = min(request["dpi"], int(72 * (OCR_PIXELS / area) ** 0.5))
        textpage = page.get_textpage_ocr(
            flags=TEXT,
            language=request["languages"],
            dpi=max(1, dpi),
            full=True,
            tessdata=request["tessdata"] or None,
        )
        body = _as_json(textpage.this.m_internal)
        size = protocol.PAGE_SIZE.pack(page.rect.width, page.rect.height)
        protocol.write_frame(self._answers, protocol.OCR, number, size + body)


def _outline(document: Any) -> list[list[Any]]:
    try:
        return [[level, title, page] for level, title, page, *_ in document.get_toc(simple=True)]
    except Exception:
        # A broken outline is no reason to leave the pages unread; headings are found by their type then.
        return []


def _raw(document: Any) -> Any:
    this = document.this
    return (this if isinstance(this, mupdf.FzDocument) else this.super()).m_internal


def main() -> None:
    """Serve requests until the parent closes the pipe."""
    # MuPDF writes its messages to the standard output: keep the pipe for the frames alone.
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as null:  # noqa: PTH123
        os.dup2(null.fileno(), 1)
    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    requests = sys.stdin.buffer
    limits = _Limits()
    session = _Session(requests, answers, limits)
    with contextlib.suppress(EOFError, BrokenPipeError, protocol.ProtocolError):
        protocol.write_json(answers, protocol.READY, {})
        while (frame := protocol.read_frame(requests, 2**24)) is not None:
            if frame[0] == protocol.OPEN:
                session.run(orjson.loads(frame[2]))


if __name__ == "__main__":
    main()
