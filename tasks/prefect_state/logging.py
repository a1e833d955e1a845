"""Log lines of this project, in Prefect's logs, or in Python's outside of runs.

Guarantees: each record has a mark that distinguishes it from Prefect's own. Names and texts from outside are made
printable, so they cannot move the cursor of a terminal or imitate a log line.
"""

import logging
import sys
from collections.abc import Callable, MutableMapping
from pathlib import PurePath
from typing import Any, Final

from prefect_ollama.blocks.errors import PrefectOllamaError
from prefect_ollama.blocks.printable import printable

RunLogger = logging.LoggerAdapter[logging.Logger]

# Attribute that the log records of this project have.
MARK: Final = "prefect_ollama"

# Name of the logger for what is done outside of runs.
OUTSIDE: Final = "prefect_ollama"


def run_logger() -> RunLogger:
    """Return the logger of the flow run or task run that is under way, or `OUTSIDE`; what it logs has the mark."""
    # Prefect is loaded if there is a run. Its import takes a second, so it is not imported here.
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


def download_log() -> Callable[[str, str, int, int], None]:
    """Return a function that logs how far a node is with a model: its name, the step, bytes done and in all (or 0)."""
    # Taken here, because the function may be called in another thread, where Prefect finds no run.
    logger = run_logger()

    def log(node: str, what: str, done: int, total: int) -> None:
        share = f" {100 * done // total} %" if total else ""
        logger.info("Node %r: %s%s", node, what, share)

    return log


class _Lines(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the attributes of the run to those that the caller gives."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **more: Any) -> None:
        """Log a line with the place of the caller (`stacklevel`), not of this method."""
        more["stacklevel"] = more.get("stacklevel", 1) + 1
        super().log(level, msg, *map(_shown, args), **more)


def _shown(value: object) -> object:
    # The message of this project's errors is printable already, and may have several lines.
    outside = isinstance(value, str | PurePath | Exception) and not isinstance(value, PrefectOllamaError)
    return printable(value) if outside else value
