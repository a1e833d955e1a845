"""This project's own lines in Prefect's logs.

Guarantees: each has a mark that tells it from Prefect's own; names and words from outside are made printable in it, so
that none moves the cursor of a terminal or looks like a line of ours.
"""

from __future__ import annotations

import logging
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from prefect.logging.loggers import PrefectLogAdapter, get_run_logger

from prefect_ollama.blocks.errors import PrefectOllamaError
from prefect_ollama.blocks.printable import printable

if TYPE_CHECKING:
    RunLogger = logging.LoggerAdapter[logging.Logger]

MARK: Final = "prefect_ollama"
"""Attribute that the log records of this project have."""


def run_logger() -> RunLogger:
    """Return the logger of the flow run or task run that is under way; what it logs has the mark.

    Raises:
        MissingContextError: None is.
    """
    logger = get_run_logger()
    assert isinstance(logger, PrefectLogAdapter)
    return _Lines(logger.logger, extra={**(logger.extra or {}), MARK: True})


class _Lines(PrefectLogAdapter):
    def log(self, level: int, msg: object, *args: object, **more: Any) -> None:
        """Log a line; `stacklevel` names the caller's place and not this one."""
        more["stacklevel"] = more.get("stacklevel", 1) + 1
        super().log(level, msg, *map(_shown, args), **more)


def _shown(value: object) -> object:
    # The message of an error of ours is printable, and may have lines.
    outside = isinstance(value, str | PurePath | Exception) and not isinstance(value, PrefectOllamaError)
    return printable(value) if outside else value
