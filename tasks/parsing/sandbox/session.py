"""Requests to a child process, its answers, and the document or the picture that they give."""

import binascii
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from prefect_ollama.blocks.documents import Region
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.parsing.document import Page, ParsedDocument
from prefect_ollama.tasks.parsing.errors import LIMITS, REMEDIES, Stopped
from prefect_ollama.tasks.parsing.page_picture import Quoted
from prefect_ollama.tasks.parsing.sandbox import protocol
from prefect_ollama.tasks.parsing.sandbox.process import ChildProcess
from prefect_ollama.tasks.parsing.sandbox.protocol import Order


class Exchange:
    """One request to a child, with the refusal or the used resources that each answer reports.

    Args:
        order: The file, with its limits.
        descriptor: The file, opened for reading.

    Attributes:
        received: Bytes of the answers so far.
        child_is_well: Whether the child can read another file.
        grown_mb: Memory that the child holds beyond what it held at rest, in MiB.
        cpu_seconds: CPU time that the child used, in seconds.
    """

    def __init__(self, order: Order, descriptor: int) -> None:
        self._order = order
        self._budget = order.budget
        self._descriptor = descriptor
        self.received = 0
        self.child_is_well = False
        self.grown_mb = 0.0
        self.cpu_seconds = 0.0

    def request(self) -> dict[str, Any]:
        """Return the request to read the file."""
        order = self._order
        # As hex digits, because a path may have bytes that are no UTF-8, which JSON cannot hold.
        return {"path": order.path.hex(), "budget": asdict(order.budget), "request": dict(order.request)}

    def run(self, child: ChildProcess, request: dict[str, Any], journal: bytes = b"") -> None:
        """Send a request to a child, and read its answers to the end.

        Raises:
            Stopped: The file is refused, or a limit was reached.
        """
        child.files += 1
        child.allow(self._budget.wall_seconds)
        self.child_is_well = False
        child.send(request, journal, None if "journal" in request else self._descriptor)
        refusal = None
        try:
            while (line := self._receive(child)).kind != protocol.DONE:
                if line.kind == protocol.FAILED:
                    refusal = _failure(line)
                else:
                    self._take(child, line)
            done = line.json()
            self.grown_mb, self.cpu_seconds = float(done["grown_mb"]), float(done["cpu_seconds"])
            if refusal is None:
                self._finish(line)
        except (protocol.ProtocolError, KeyError, TypeError, ValueError) as error:
            raise Stopped("crashed", f"the parser process sent an invalid message ({error})") from error
        # After a failed allocation, the data structures of a library may be incomplete.
        self.child_is_well = refusal is None or refusal.kind != "memory"
        if refusal is not None:
            raise refusal

    def _receive(self, child: ChildProcess) -> protocol.Line:
        line = child.receive(protocol.MAX_MESSAGE_BYTES)
        if line is None:
            raise Stopped(*child.cause_of_death())
        self.received += len(line.body)
        return line

    def _take(self, child: ChildProcess, line: protocol.Line) -> None:
        """Take an answer before the last one."""

    def _finish(self, line: protocol.Line) -> None:
        """Take the last answer, after nothing was refused."""


def _failure(line: protocol.Line) -> Stopped:
    failure = line.json()
    if failure["kind"] not in REMEDIES:
        raise protocol.ProtocolError(f"there is no refusal of the kind {failure['kind']!r}")
    return Stopped(failure["kind"], str(failure["message"]))


class Session(Exchange):
    """The reading of one file. It keeps the journal entries of the child.

    If the child is stopped, another child gets them, and makes the document that the first child would have made.

    Attributes:
        began: Whether the child has read anything of the file.
    """

    def __init__(self, order: Order, descriptor: int) -> None:
        super().__init__(order, descriptor)
        self._journal: list[bytes] = []
        self._worth_keeping = False
        self.began = False
        self._all_read = False
        self._making = False
        self._extra_until: float | None = None
        self._pages: list[Page] = []
        self._document: ParsedDocument | None = None

    def worth_making(self, kind: str) -> bool:
        """Return whether the entries of a stopped child are made into a document.

        Pages that were read before extra work always are.
        """
        if self._making or not self._worth_keeping:
            return False
        return self._extra_until is not None or (self._budget.allow_partial and kind in LIMITS)

    def replay(self, kind: str, reason: str) -> tuple[dict[str, Any], bytes]:
        """Return the request to another child to make the document, and the journal for it."""
        remedy, extra = REMEDIES[kind], self._order.extra
        if self._extra_until is not None and extra is not None and kind == "wall-time":
            kind, reason, remedy = extra.kind, extra.reason, extra.remedy
        stopped = {"journal": len(self._journal), "stopped": (kind, reason, remedy)}
        return {**self.request(), **stopped}, b"".join(self._journal)

    def document(self, seconds: float) -> ParsedDocument:
        """Return the document, after it was read."""
        assert self._document is not None
        return replace(self._document, seconds=seconds)

    def _finish(self, line: protocol.Line) -> None:
        self._document = protocol.decoded_document(self._pages, line.body)

    def _take(self, child: ChildProcess, line: protocol.Line) -> None:
        kind = line.kind
        if kind.islower():
            self._journal.append(protocol.write_line(*line))
        elif kind == protocol.KEPT:
            self._worth_keeping = True
        elif kind == protocol.SEEN:
            self._all_read = True
        elif kind == protocol.EXTRA:
            if self._order.extra is None:
                raise protocol.ProtocolError("it begins extra work, and there is none")
            self._extra_until = self._extra_until or time.monotonic() + self._order.extra.seconds
            child.allow(self._extra_until - time.monotonic())
        elif kind == protocol.MAKES:
            self._making = True
            if self._extra_until is not None:
                child.allow(self._budget.wall_seconds)
        elif kind == protocol.MADE:
            self._pages.append(protocol.decoded_page(line.body))

    def _receive(self, child: ChildProcess) -> protocol.Line:
        # The limit counts the text once as it is read, and once more as it is in the document.
        most = self._budget.output_mb * 2**20 * (2 if self._making else 1)
        left = max(0, most - self.received)
        try:
            line = child.receive(min(left, protocol.MAX_MESSAGE_BYTES) + 2**16)
        except protocol.ProtocolError as error:
            raise Stopped("too-large", f"it yields more than {self._budget.output_mb} MiB of text") from error
        if line is None:
            kind, reason = child.cause_of_death()
            read, pages = child.progress
            self.began = self.began or pages > 0
            where = f"after {read} of {quantity(pages, 'page')}" if pages else "before its first page"
            raise Stopped(kind, reason if self._all_read else f"{reason}, {where}")
        self.began = True
        self.received += len(line.body)
        return line


class PictureSession(Exchange):
    """One page of one file as a picture.

    Args:
        page: Counted from 1.
        marks: Rectangles of this page to mark.
        dpi: Resolution.
        quoted: Words to mark within the rectangles; None marks the rectangles.

    Attributes:
        png: The picture; empty if the page has none of the words.
        share: Share of the words' letters that are marked.
    """

    def __init__(
        self,
        order: Order,
        descriptor: int,
        *,
        page: int,
        marks: Sequence[Region],
        dpi: int,
        quoted: Quoted | None = None,
    ) -> None:
        super().__init__(order, descriptor)
        self._drawn = {
            "page": page - 1,
            "marks": [[each.x0, each.y0, each.x1, each.y1] for each in marks if each.page == page],
            "dpi": dpi,
            "quoted": None if quoted is None else asdict(quoted),
        }
        self.png = b""
        self.share = 0.0

    def request(self) -> dict[str, Any]:
        """Return the request to draw the page."""
        return {**super().request(), "draw": self._drawn}

    def _take(self, child: ChildProcess, line: protocol.Line) -> None:
        if line.kind == protocol.PICTURE:
            self.png = binascii.a2b_base64(line.body)

    def _finish(self, line: protocol.Line) -> None:
        self.share = float(line.json().get("share", 0.0))
