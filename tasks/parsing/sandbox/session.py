"""One file on its way through a child: what is said to it, what comes back, and what that says.

What the child says of the file is kept as it was said. Of a child that was stopped another one can make, of that,
the document that the first would have made of it.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from prefect_ollama.tasks.parsing._metadata import read_metadata
from prefect_ollama.tasks.parsing.document import Block, Box, Metadata, Page, ParsedDocument, Problem
from prefect_ollama.tasks.parsing.dropped import DroppedLine
from prefect_ollama.tasks.parsing.errors import LIMITS, REMEDIES, Stopped
from prefect_ollama.tasks.parsing.options import ParseOptions
from prefect_ollama.tasks.parsing.sandbox import protocol
from prefect_ollama.tasks.parsing.sandbox.process import ChildProcess

_FOR_THE_CHILD: Final = (
    *("cpu_seconds", "wall_seconds", "memory_mb", "max_pages", "allow_partial", "tables", "running_heads"),
    *("ocr", "ocr_languages", "ocr_dpi", "ocr_max_pages", "ocr_seconds"),
)


class Session:
    """One file: what is said to the child about it, and what comes back."""

    def __init__(self, path: Path, options: ParseOptions, descriptor: int | None = None) -> None:
        self._path = path
        self._descriptor = descriptor
        self._options = options
        self._journal: list[bytes] = []
        self._keeps_pages = False
        self._read = 0
        self._of = 0
        self._all_text_seen = False
        self._making = False
        self._ocr_until: float | None = None
        self._metadata = Metadata()
        self._made: list[Page] = []
        self._rest: dict[str, Any] = {}
        self.received = 0
        self.child_is_well = False
        self.grown_mb = 0.0
        self.cpu_seconds = 0.0

    def request(self) -> dict[str, Any]:
        """What the child is asked for."""
        options = self._options
        return {
            **{name: getattr(options, name) for name in _FOR_THE_CHILD},
            # Bytes that are no UTF-8 travel as lone surrogates, which JSON cannot hold.
            "path": os.fsencode(self._path.absolute()).hex(),
            "passwords": options.passwords_for(self._path),
        }

    def worth_making(self, kind: str) -> bool:
        """Whether a document is made of what had been read when the child was stopped.

        What was there before OCR always is.
        """
        if self._making or not self._keeps_pages:
            return False
        return self._ocr_until is not None or (self._options.allow_partial and kind in LIMITS)

    def replay(self, kind: str, reason: str) -> tuple[dict[str, Any], bytes]:
        """What another child is asked for instead, and the journal that it is given."""
        remedy = REMEDIES[kind]
        if self._ocr_until is not None and kind == "wall-time":
            kind, remedy = "ocr-limit", "Raise `ocr_seconds`, or lower `ocr_dpi`."
            reason = f"OCR of this file has taken {self._options.ocr_seconds:g} s"
        stopped = {"journal": len(self._journal), "stopped": (kind, reason, remedy)}
        return {**self.request(), **stopped}, b"".join(self._journal)

    def run(self, child: ChildProcess, request: dict[str, Any], journal: bytes) -> None:
        """Do what is asked for.

        Raises:
            Stopped: It is refused, or a limit was reached.
        """
        options = self._options
        child.files += 1
        child.allow(options.wall_seconds)
        self.child_is_well = False
        child.send(request, journal, None if journal or "journal" in request else self._descriptor)
        refusal = None
        while (line := self._receive(child)).kind != protocol.DONE:
            try:
                refusal = self._take(child, line) or refusal
            except (protocol.ProtocolError, KeyError, TypeError, ValueError) as error:
                raise Stopped("crashed", f"the parser process says what makes no sense ({error})") from error
        self._rest = line.json()
        self.grown_mb = self._rest["grown_mb"]
        self.cpu_seconds = self._rest["cpu_seconds"]
        self.child_is_well = True
        if refusal is not None:
            raise refusal

    def document(self, seconds: float) -> ParsedDocument:
        """The document, after it has been read."""
        rest, metadata = self._rest, self._metadata
        return ParsedDocument(
            pages=tuple(self._made),
            page_count=self._of,
            metadata=metadata if metadata.title else replace(metadata, title=rest["title"]),
            problems=tuple(Problem(**problem) for problem in rest["problems"]),
            dropped=rest["dropped"],
            dropped_lines=tuple(DroppedLine(*line) for line in rest["dropped_lines"]),
            ocr_pages=tuple(page.number for page in self._made if page.ocr),
            seconds=seconds,
            cpu_seconds=rest["cpu_seconds"],
            ocr_seconds=rest["ocr_seconds"],
        )

    def _take(self, child: ChildProcess, line: protocol.Line) -> Stopped | None:
        kind = line.kind
        if kind in protocol.JOURNAL:
            self._journal.append(protocol.write_line(*line))
        if kind == protocol.READ:
            self._read = line.page + 1
        elif kind == protocol.PAGE:
            self._keeps_pages = True
        elif kind == protocol.PAGE_FAILED:
            failure = line.json()
            if failure["kind"] == "memory" and not self._options.allow_partial:
                raise Stopped("memory", f"page {line.page + 1} takes more memory than allowed")
        elif kind == protocol.OPENED:
            about = line.json()
            self._of, self._metadata = about["pages"], read_metadata(about["metadata"])
        elif kind == protocol.SEEN:
            self._all_text_seen = True
        elif kind == protocol.RECOGNISES:
            self._ocr_until = self._ocr_until or time.monotonic() + self._options.ocr_seconds
            child.allow(self._ocr_until - time.monotonic())
        elif kind == protocol.MAKES:
            self._making = True
            if self._ocr_until is not None:
                child.allow(self._options.wall_seconds)
        elif kind == protocol.MADE:
            self._made.append(_page(line.page + 1, *line.json()))
        elif kind == protocol.FAILED:
            failure = line.json()
            return Stopped(failure["kind"], failure["message"])
        return None

    def _receive(self, child: ChildProcess) -> protocol.Line:
        # What is made of the text has as much room again as the text.
        most = self._options.output_mb * 2**20 * (2 if self._making else 1)
        left = max(0, most - self.received)
        try:
            line = child.receive(min(left, protocol.MAX_MESSAGE_BYTES) + 2**16)
        except protocol.ProtocolError as error:
            raise Stopped(
                "too-large", f"it yields more than {self._options.output_mb} MiB of text"
            ) from error
        if line is None:
            kind, reason = child.cause_of_death()
            raise Stopped(kind, reason if self._all_text_seen else f"{reason}, {self._progress}")
        self.received += len(line.body)
        return line

    @property
    def _progress(self) -> str:
        return f"after {self._read} of {self._of} pages" if self._of else "before its first page"


def _page(number: int, width: float, height: float, ocr: bool, blocks: list[list[Any]]) -> Page:
    made = [
        Block(kind, text, Box(x0, y0, x1, y1), level, continues, tuple(ends))
        for kind, text, x0, y0, x1, y1, level, continues, ends in blocks
    ]
    return Page(number, width, height, tuple(made), ocr)
