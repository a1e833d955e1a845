"""This project's own lines in Prefect's logs, and in Python's where there is no run.

Guarantees: each has a mark that tells it from Prefect's own; names and words from outside are made printable in it, so
that none moves the cursor of a terminal or looks like a line of ours.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from pathlib import PurePath
from typing import Any, Final

from prefect_ollama.blocks.errors import PrefectOllamaError
from prefect_ollama.blocks.printable import printable

RunLogger = logging.LoggerAdapter[logging.Logger]

MARK: Final = "prefect_ollama"
"""Attribute that the log records of this project have."""

OUTSIDE: Final = "prefect_ollama"
"""Name of the logger for what is done outside of runs."""


def run_logger() -> RunLogger:
    """Return the logger of the flow run or task run that is under way, or `OUTSIDE`; what it logs has the mark."""
    # Whoever is in a run has loaded Prefect, whose import takes a second.
    if "prefect.logging" in sys.modules:
        from prefect.exceptions import MissingContextError
        from prefect.logging import get_run_logger

        try:
            logger = get_run_logger()
        except MissingContextError:
            pass
        else:
            assert isinstance(logger, logging.LoggerAdapter)
            return _Lines(logger.logger, {**(logger.extra or {}), MARK: True})
    return _Lines(logging.getLogger(OUTSIDE), {MARK: True})


class _Lines(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Give the record what is known of the run, beside what the caller adds."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **more: Any) -> None:
        """Log a line; `stacklevel` names the caller's place and not this one."""
        more["stacklevel"] = more.get("stacklevel", 1) + 1
        super().log(level, msg, *map(_shown, args), **more)


def _shown(value: object) -> object:
    # The message of an error of ours is printable, and may have lines.
    outside = isinstance(value, str | PurePath | Exception) and not isinstance(value, PrefectOllamaError)
    return printable(value) if outside else value
