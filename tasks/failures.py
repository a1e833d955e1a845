"""Documents that failed, told on Prefect's feed as it happens.

Guarantees: each is told of once a run; a run tells of `MOST` one by one and of the rest in one event, so that a folder
of broken files floods nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prefect_ollama.blocks.lance import Document
from prefect_ollama.tasks.events import emit

MOST: Final = 200
"""Documents that a run tells of one by one."""


class Failures:
    """The failed documents of a run.

    Args:
        run_id: The run.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._told = 0
        self._more = 0

    def tell(self, rows: Iterable[Document]) -> None:
        """Tell of documents of which something or all is missing in the table."""
        for row in rows:
            if self._told >= MOST:
                self._more += 1
                continue
            self._told += 1
            emit(
                "document.failed",
                row.doc_id,
                label=row.path,
                run=self._run_id,
                source=row.source,
                path=row.path,
                status=row.status,
                kind=row.kind,
                reason=row.reason,
                remedy=row.remedy,
            )

    def end(self) -> None:
        """Tell how many more there were."""
        if self._more:
            label = f"{self._more} more documents"
            emit("document.failed", self._run_id, label=label, run=self._run_id, more=self._more)
            self._more = 0
