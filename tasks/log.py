"""This project's own lines in Prefect's logs are marked, so that they can be told from Prefect's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from prefect.logging.loggers import PrefectLogAdapter, get_run_logger

if TYPE_CHECKING:
    RunLogger = logging.LoggerAdapter[logging.Logger]

MARK: Final = "prefect_ollama"
"""Attribute that the log records of this project have."""


def run_logger() -> RunLogger:
    """The logger of the flow run or task run that is under way; what it logs has the mark.

    Raises:
        MissingContextError: None is.
    """
    logger = get_run_logger()
    assert isinstance(logger, PrefectLogAdapter)
    return PrefectLogAdapter(logger.logger, extra={**(logger.extra or {}), MARK: True})
