"""The process that touches the file: `python -m prefect_ollama.tasks.parsing.child`.

It reads requests on its standard input and answers on its standard output, line by line. Everything that depends on
what a file holds is done here, within its limits: MuPDF's work, OCR, and all that is made of the text. It may die at
any moment, by a limit of its own or by its parent's hand; the lines it wrote until then are whole.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import orjson

from prefect_ollama.tasks.parsing import mupdf, protocol
from prefect_ollama.tasks.parsing.limits import Limits, cpu_seconds
from prefect_ollama.tasks.parsing.page_text import Pages
from prefect_ollama.tasks.parsing.reader import Reader
from prefect_ollama.tasks.parsing.reading import Reading, from_journal

# Pages of a document that are sent at once: each time wakes the parent up.
_TOGETHER = 32


class _Child:
    def __init__(self, requests: BinaryIO, answers: int) -> None:
        self._requests = requests
        self._answers = answers
        self._limits = Limits()
        self._pages = Pages()

    def serve(self) -> None:
        """Answer requests until the parent closes the pipe."""
        self._say(protocol.READY, 0, b"{}")
        while line := self._requests.readline(protocol.SHORT):
            self._answer(orjson.loads(line))

    def _answer(self, request: dict[str, Any]) -> None:
        cpu = cpu_seconds()
        self._limits.apply(
            cpu=request["cpu_seconds"], wall=request["wall_seconds"], memory_mb=request["memory_mb"]
        )
        done: dict[str, Any] = {}
        try:
            reading = self._replay(request) if "journal" in request else self._read(request)
            done = self._make(reading, request)
        except BrokenPipeError:
            raise
        except mupdf.Refused as error:
            self._refuse(error.kind, str(error))
        except Exception as error:
            self._refuse(mupdf.kind_of(error), f"it cannot be read ({mupdf.short(error)})")
        self._limits.lift()
        gc.collect()
        done |= {"cpu_seconds": cpu_seconds() - cpu, "grown_mb": self._limits.grown_mb}
        self._say(protocol.DONE, 0, orjson.dumps(done))

    def _read(self, request: dict[str, Any]) -> Reading:
        reader = Reader(
            self._pages, self._say, request, lambda seconds: self._limits.time(cpu=seconds, wall=seconds)
        )
        with mupdf.opened(bytes.fromhex(request["path"]), request["passwords"]) as document:
            reader.read(document)
        return reader.reading

    def _replay(self, request: dict[str, Any]) -> Reading:
        """Read the journal of a child that was stopped."""
        reading = Reading()
        for line in self._journal(request["journal"]):
            reading.take(line.kind, line.page, from_journal(line.kind, line.json()))
        reading.stopped(*request["stopped"])
        return reading

    def _journal(self, lines: int) -> Iterator[protocol.Line]:
        for _ in range(lines):
            yield protocol.read_line(self._requests.readline(protocol.LONGEST).rstrip(b"\n"))

    def _make(self, reading: Reading, request: dict[str, Any]) -> dict[str, Any]:
        self._say(protocol.MAKES, 0, b"{}")
        if reading.ocr_began:
            self._limits.time(cpu=request["cpu_seconds"], wall=request["wall_seconds"])
        pages, title, problems, dropped, ocr_seconds = reading.make(
            running_heads=request["running_heads"] == "keep"
        )
        lines: list[bytes] = []
        for page in pages:
            blocks = [[kind, text, *box, *rest] for kind, text, box, *rest in page.blocks]
            body = orjson.dumps([page.width, page.height, page.ocr, blocks])
            lines.append(protocol.write_line(protocol.MADE, page.number - 1, body))
            if len(lines) >= _TOGETHER or page is pages[-1]:
                self._write(b"".join(lines))
                lines.clear()
        return {
            "title": title,
            "problems": problems,
            "dropped": dict(+dropped.characters),
            "dropped_lines": list(map(tuple, dropped.listed())),
            "ocr_seconds": ocr_seconds,
        }

    def _refuse(self, kind: str, message: str) -> None:
        self._say(protocol.FAILED, 0, orjson.dumps({"kind": kind, "message": message}))

    def _say(self, kind: bytes, page: int, body: bytes) -> None:
        """Send a line at once: what was said before a kill is not lost."""
        self._write(protocol.write_line(kind, page, body))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._answers, view) :]


def main() -> None:
    """Serve the parent that started this process."""
    # Whatever a library prints must not get between the lines: the pipe moves to a descriptor of its own.
    pipe = os.dup(1)
    with open(os.devnull, "wb") as null:  # noqa: PTH123
        os.dup2(null.fileno(), 1)
    mupdf.silence()
    # One file makes next to no garbage in circles; looking for it all the time costs a twentieth of that time.
    gc.freeze()
    gc.disable()
    try:
        _Child(sys.stdin.buffer, pipe).serve()
    except MemoryError:
        os._exit(protocol.OUT_OF_MEMORY)


if __name__ == "__main__":
    main()
