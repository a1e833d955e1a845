"""The process that touches the file: `python -m prefect_ollama.tasks.parsing.child`.

It reads requests on its standard input and answers on its standard output, line by line. Everything that depends on
what a file holds is done here, within its limits: MuPDF's work, OCR, and all that is made of the text. It may die at
any moment, by a limit of its own or by its parent's hand; the lines it wrote until then are whole. It gives up all
rights that it does not need before the first file comes (see `sandbox.confinement`).
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

from prefect_ollama.blocks.child_processes import end_with_parent
from prefect_ollama.tasks.parsing.pdf import Pages, Reader, Reading, from_journal, mupdf
from prefect_ollama.tasks.parsing.sandbox import Limits, confinement, protocol, used_cpu

# Pages of a document that are sent at once: each time wakes the parent up.
_TOGETHER = 32


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What a child may do at most, for all its files. The parent gives it as JSON on the command line.

    Attributes:
        memory_mb: Memory beyond that at rest, in MiB, the mapped file included; None for no hard limit.
        cpu_seconds: CPU time of all files together; None for no hard limit.
        ocr: Whether Tesseract may be needed.
        tessdata: Folder of its language data; looked for when empty.
        descriptors: Number of the socket that open files come over, None where there is none.
    """

    memory_mb: int | None = None
    cpu_seconds: float | None = None
    ocr: bool = True
    tessdata: str = ""
    descriptors: int | None = None


class _Child:
    def __init__(self, requests: BinaryIO, answers: int, ceiling: Ceiling) -> None:
        self._requests = requests
        self._answers = answers
        self._files = None if ceiling.descriptors is None else socket.socket(fileno=ceiling.descriptors)
        self._tessdata = mupdf.find_tessdata(ceiling.tessdata) if ceiling.ocr else ""
        self._pages = Pages()
        self._limits = Limits(memory_mb=ceiling.memory_mb, cpu_seconds=ceiling.cpu_seconds)
        self._unconfined = confinement.confine([self._tessdata] if self._tessdata else [])

    def serve(self) -> None:
        """Answer requests until the parent closes the pipe."""
        self._say(protocol.READY, 0, orjson.dumps({"unconfined": self._unconfined}))
        while line := self._requests.readline(protocol.SHORT):
            self._answer(orjson.loads(line))

    def _answer(self, request: dict[str, Any]) -> None:
        cpu = used_cpu()
        request["tessdata"] = self._tessdata
        file = self._received() if "descriptor" in request else None
        with nullcontext() if file is None else closing(file):
            size = 0 if file is None else os.fstat(file.number).st_size
            self._limits.apply(
                cpu=request["cpu_seconds"],
                wall=request["wall_seconds"],
                # The file is mapped, which takes room among the addresses and not in memory.
                memory_mb=request["memory_mb"] + size // 2**20 + 1,
            )
            done = self._done(request, None if file is None else file.number)
            self._limits.lift()
        gc.collect()
        done |= {"cpu_seconds": used_cpu() - cpu, "grown_mb": self._limits.grown_mb}
        self._say(protocol.DONE, 0, orjson.dumps(done))

    def _received(self) -> _Descriptor:
        assert self._files is not None
        _, descriptors, _, _ = socket.recv_fds(self._files, 1, 1)
        return _Descriptor(descriptors[0])

    def _done(self, request: dict[str, Any], descriptor: int | None) -> dict[str, Any]:
        try:
            reading = self._replay(request) if "journal" in request else self._read(request, descriptor)
            return self._make(reading, request)
        except BrokenPipeError:
            raise
        except mupdf.Refused as error:
            self._refuse(error.kind, str(error))
        except Exception as error:
            self._refuse(mupdf.kind_of(error), f"it cannot be read ({mupdf.short(error)})")
        return {}

    def _read(self, request: dict[str, Any], descriptor: int | None) -> Reading:
        reader = Reader(
            self._pages, self._say, request, lambda seconds: self._limits.time(cpu=seconds, wall=seconds)
        )
        file = bytes.fromhex(request["path"]) if descriptor is None else descriptor
        with mupdf.opened(file, request["passwords"]) as document:
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
            yield protocol.read_line(self._requests.readline(protocol.MAX_MESSAGE_BYTES).rstrip(b"\n"))

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


@dataclass(frozen=True, slots=True)
class _Descriptor:
    number: int

    def close(self) -> None:
        os.close(self.number)


def main(arguments: Sequence[str] = sys.argv[1:]) -> None:
    """Serve the parent that started this process."""
    end_with_parent()
    ceiling = Ceiling(**orjson.loads(arguments[0])) if arguments else Ceiling()
    # Whatever a library prints must not get between the lines: the pipe moves to a descriptor of its own.
    pipe = os.dup(1)
    with open(os.devnull, "wb") as null:  # noqa: PTH123
        os.dup2(null.fileno(), 1)
    mupdf.silence()
    # One file makes next to no garbage in circles; looking for it all the time costs a twentieth of that time.
    gc.freeze()
    gc.disable()
    try:
        _Child(sys.stdin.buffer, pipe, ceiling).serve()
    except MemoryError:
        os._exit(protocol.OUT_OF_MEMORY)


if __name__ == "__main__":
    main()
