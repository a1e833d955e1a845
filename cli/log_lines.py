"""The log lines that a command shows on stderr: those of this project, and Prefect's own only on request."""

import logging
import os
import sys

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.printable import MAX_CHARACTERS, printable
from prefect_ollama.options import PrintOptions
from prefect_ollama.tasks.prefect_state import MARK, OUTSIDE

# A user who sets one of these wants Prefect's own log.
_LOG_SETTINGS = ("PREFECT_LOGGING_LEVEL", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "PREFECT_DEBUG_MODE")


class OwnLines(logging.Handler):
    """Writes printable lines to the present stderr, so that they go above a live display of a run."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a record, which may be of any module."""
        try:
            sys.stderr.write(f"{printable(self.format(record), lines=True, longest=20 * MAX_CHARACTERS)}\n")
            sys.stderr.flush()
        except Exception:
            self.handleError(record)


def show_lines(out: PrintOptions, *, prefect: bool) -> None:
    """Show the log of this project, and Prefect's own log only on request. Prefect's server gets both."""
    if out.quiet and out.verbose:
        raise ConfigurationError("--quiet and --verbose are both given.", remedy="Give one of them.")
    handler = OwnLines()
    handler.setLevel(logging.WARNING if out.quiet else logging.NOTSET)
    handler.addFilter(lambda record: hasattr(record, MARK))
    # Lines of modules that log outside of any flow run.
    outside = logging.getLogger(OUTSIDE)
    outside.setLevel(logging.INFO)
    outside.addHandler(handler)
    if out.verbose or any(name in os.environ for name in _LOG_SETTINGS):
        return
    # A command without flows imports Prefect, too, where a saved block is named.
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    if not prefect:
        return
    from prefect.logging.configuration import setup_logging

    setup_logging()
    # After `setup_logging`, which removes handlers of these loggers.
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addHandler(handler)
