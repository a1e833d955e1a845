"""Where this project's own lines go in Prefect's logs: to loggers of their own, so that they can be told apart."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from prefect.logging.loggers import get_run_logger

if TYPE_CHECKING:
    LogAdapter = logging.LoggerAdapter[logging.Logger]
else:
    LogAdapter = logging.LoggerAdapter

_NAME: Final = "prefect_ollama"
OWN_LOGGERS: Final = (f"prefect.flow_runs.{_NAME}", f"prefect.task_runs.{_NAME}")
"""Names of the loggers that `run_logger` gives."""


def run_logger() -> LogAdapter:
    """The logger for the flow run or task run that is under way.

    Raises:
        MissingContextError: None is.
    """
    return get_run_logger().getChild(_NAME)  # type: ignore[union-attr]
