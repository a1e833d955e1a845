"""One page on its way through a child: what is asked for, and the picture that comes back."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from prefect_ollama.blocks.documents import Region
from prefect_ollama.tasks.parsing.errors import REMEDIES, Stopped
from prefect_ollama.tasks.parsing.quoted import Quoted
from prefect_ollama.tasks.parsing.sandbox import protocol
from prefect_ollama.tasks.parsing.sandbox.order import Order
from prefect_ollama.tasks.parsing.sandbox.process import ChildProcess


class PictureSession:
    """One page of one file as a picture.

    Args:
        order: The file, and what it may cost.
        descriptor: The file, opened for reading.
        page: Counted from 1.
        marks: Rectangles of this page to mark.
        dpi: Resolution.
        quoted: Words to mark within the rectangles; None marks the rectangles.

    Attributes:
        png: The picture; empty where the page has none of the words.
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
        self._order, self._descriptor = order, descriptor
        self._drawn = {
            "page": page - 1,
            "marks": [[each.x0, each.y0, each.x1, each.y1] for each in marks if each.page == page],
            "dpi": dpi,
            "quoted": None if quoted is None else asdict(quoted),
        }
        self.png = b""
        self.share = 0.0
        self.received = 0
        self.child_is_well = False
        self.grown_mb = 0.0
        self.cpu_seconds = 0.0

    def request(self) -> dict[str, Any]:
        """What the child is asked for."""
        order = self._order
        return {
            "path": order.path.hex(),
            "budget": asdict(order.budget),
            "request": dict(order.request),
            "draw": self._drawn,
        }

    def run(self, child: ChildProcess, request: dict[str, Any], _: bytes = b"") -> None:
        """Let a child draw it.

        Raises:
            Stopped: It is refused, or a limit was reached.
        """
        child.files += 1
        child.allow(self._order.budget.wall_seconds)
        self.child_is_well = False
        child.send(request, descriptor=self._descriptor)
        refusal = None
        try:
            while (line := child.receive(protocol.MAX_MESSAGE_BYTES)) is not None:
                self.received += len(line.body)
                if line.kind == protocol.PICTURE:
                    self.png = binascii.a2b_base64(line.body)
                elif line.kind == protocol.FAILED:
                    failure = line.json()
                    if failure["kind"] not in REMEDIES:
                        raise protocol.ProtocolError(f"there is no refusal of the kind {failure['kind']!r}")
                    refusal = Stopped(failure["kind"], str(failure["message"]))
                elif line.kind == protocol.DONE:
                    done = line.json()
                    self.share = float(done.get("share", 0.0))
                    self.grown_mb, self.cpu_seconds = float(done["grown_mb"]), float(done["cpu_seconds"])
                    break
        except (protocol.ProtocolError, KeyError, TypeError, ValueError) as error:
            raise Stopped("crashed", f"the parser process sent an invalid message ({error})") from error
        if line is None:
            raise Stopped(*child.cause_of_death())
        self.child_is_well = True
        if refusal is not None:
            raise refusal
