"""One page of a file as a picture that a child draws."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from prefect_ollama.blocks.documents import Region
from prefect_ollama.tasks.parsing.quoted import Quoted
from prefect_ollama.tasks.parsing.sandbox import protocol
from prefect_ollama.tasks.parsing.sandbox.order import Order
from prefect_ollama.tasks.parsing.sandbox.process import ChildProcess
from prefect_ollama.tasks.parsing.sandbox.session import Exchange


class PictureSession(Exchange):
    """One page of one file as a picture.

    Args:
        order: The file, with its limits.
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
