"""The process that touches the file: `python -m prefect_ollama.tasks.parsing.child`.

It reads requests on its standard input and answers on its standard output, page by page. It may die at any
moment, by a limit of its own or by its parent's hand; the lines it wrote until then are whole.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any, BinaryIO

import orjson

from prefect_ollama.tasks.parsing import mupdf, protocol
from prefect_ollama.tasks.parsing.limits import Limits, cpu_seconds

# A file of which so many pages fail before one is read is not worth trying any further.
_HOPELESS = 100


class _Child:
    def __init__(self, requests: BinaryIO, answers: mupdf.Answers) -> None:
        self._requests = requests
        self._answers = answers
        self._limits = Limits()
        self._read = 0

    def serve(self) -> None:
        """Answer requests until the parent closes the pipe."""
        self._answers.say(protocol.READY, {})
        while request := self._next():
            self._file(request)

    def _next(self) -> dict[str, Any] | None:
        line = self._requests.readline(protocol.SHORT)
        request: dict[str, Any] | None = orjson.loads(line) if line else None
        return request

    def _file(self, request: dict[str, Any]) -> None:
        cpu = cpu_seconds()
        self._limits.apply(
            cpu=request["cpu_seconds"], wall=request["wall_seconds"], memory_mb=request["memory_mb"]
        )
        try:
            with mupdf.opened(bytes.fromhex(request["path"]), request["passwords"]) as document:
                self._document(document, request["max_pages"])
        except BrokenPipeError:
            raise
        except mupdf.Refused as error:
            self._answers.say(protocol.FAILED, {"kind": error.kind, "message": str(error)})
        except Exception as error:
            message = f"it cannot be read ({mupdf.short(error)})"
            self._answers.say(protocol.FAILED, {"kind": mupdf.kind_of(error), "message": message})
        self._limits.lift()
        usage = {"cpu_seconds": cpu_seconds() - cpu, "grown_mb": self._limits.grown_mb}
        self._answers.say(protocol.DONE, usage)

    def _document(self, document: Any, max_pages: int) -> None:
        count = document.page_count
        if count <= 0:
            raise mupdf.Refused("no-pages", "it has no pages")
        if count > max_pages:
            raise mupdf.Refused("too-large", f"it says it has {count} pages, and {max_pages} are allowed")
        about = {
            "pages": count,
            "metadata": {key: value for key, value in (document.metadata or {}).items() if value},
            "outline": mupdf.outline(document),
            "repaired": bool(document.is_repaired),
        }
        self._answers.say(protocol.OPENED, about)
        raw = mupdf.raw(document)
        self._read = 0
        for number in range(count):
            self._page(raw, number, protocol.PAGE, mupdf.TEXT)
            if number + 1 == _HOPELESS and not self._read:
                raise mupdf.Refused("damaged", f"none of its first {_HOPELESS} pages can be read")
        self._look_again(document, raw)

    def _page(
        self, raw: Any, number: int, kind: bytes, flags: int, region: list[float] | None = None
    ) -> None:
        try:
            self._answers.print_page(raw, kind, number, flags, region)
            self._read += 1
        except Exception as error:
            self._failed(number, mupdf.kind_of(error), mupdf.short(error))

    def _failed(self, number: int, kind: str, message: str) -> None:
        if kind == "memory":
            message = "it takes more memory than allowed"
        self._answers.say(protocol.PAGE_FAILED, {"kind": kind, "message": message}, number)

    def _look_again(self, document: Any, raw: Any) -> None:
        """Do what the parent asks for after it has seen the pages, until it asks for nothing more."""
        while True:
            self._answers.say(protocol.LOOKED, {})
            request = self._next()
            if not request:
                return
            for number in request["pictures"]:
                self._page(raw, number, protocol.PICTURES, mupdf.PICTURES)
            enough = time.monotonic() + request["tables_seconds"]
            for number, *region in request["tables"]:
                if time.monotonic() < enough:
                    self._page(raw, number, protocol.TABLES, mupdf.TABLES, region)
            if request["ocr"]:
                self._ocr(document, request)

    def _ocr(self, document: Any, request: dict[str, Any]) -> None:
        self._limits.time(cpu=request["ocr_seconds"], wall=request["ocr_seconds"])
        languages = request["languages"]
        for number in request["ocr"]:
            try:
                tessdata = mupdf.tessdata_for(languages, request["tessdata"])
                self._answers.print_ocr(
                    document, number, dpi=request["dpi"], languages="+".join(languages), tessdata=tessdata
                )
            except mupdf.Refused as error:
                self._failed(number, error.kind, str(error))
            except Exception as error:
                kind = mupdf.kind_of(error)
                self._failed(number, kind if kind == "memory" else "ocr", mupdf.short(error))


def main() -> None:
    """Serve the parent that started this process."""
    # Whatever a library prints must not get between the lines: the pipe moves to a descriptor of its own.
    pipe = os.dup(1)
    with open(os.devnull, "wb") as null:  # noqa: PTH123
        os.dup2(null.fileno(), 1)
    mupdf.silence()
    try:
        _Child(sys.stdin.buffer, mupdf.Answers(pipe)).serve()
    except MemoryError:
        os._exit(protocol.OUT_OF_MEMORY)


if __name__ == "__main__":
    main()
