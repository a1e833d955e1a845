"""Common parts of `research` and `summarize`: parts in parallel, a synthesis, and the report of every step."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.flows.researching._make_report import make_report, report_can_be_made
    from prefect_ollama.flows.researching.report_run import ReportRun
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
