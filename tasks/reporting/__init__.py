"""Reports of runs for programs and for people: values, Markdown, HTML and charts."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.reporting.answer_report import GAP, Line, Rows, answer_lines, report_lines
    from prefect_ollama.tasks.reporting.chart_scale import clock, steps
    from prefect_ollama.tasks.reporting.ingest_report import FileReport, IngestReport, Outcome
    from prefect_ollama.tasks.reporting.ingest_sections import run_sections, short_facts
    from prefect_ollama.tasks.reporting.markdown import (
        lines_markdown,
        picture_markdown,
        report_markdown,
        roll_back_command,
        run_chart,
        section_markdown,
        tuning_markdown,
    )
    from prefect_ollama.tasks.reporting.node_report import NodeReport, node_reports
    from prefect_ollama.tasks.reporting.node_sections import found_section, status_section
    from prefect_ollama.tasks.reporting.run_statistics import RunStatistics
    from prefect_ollama.tasks.reporting.sections import Item, Section
    from prefect_ollama.tasks.reporting.svg import FAINT, HUES, INK, TROUBLE, Svg
    from prefect_ollama.tasks.reporting.tuning_report import NodeTuning, tuning_sections
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
