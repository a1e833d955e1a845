"""The report of a run as HTML, which a notebook shows as tables.

Guarantees: what comes from outside shows as the text it is; the length is bounded however many files a run has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from prefect_ollama.blocks.printable import escape_html

if TYPE_CHECKING:
    from prefect_ollama.tasks.reporting.report import IngestReport

ROWS = 100
"""Rows of a table at most."""


def report_html(report: IngestReport) -> str:
    """Return the report: its totals, the files that need attention, the nodes."""
    parts = [_table(("", ""), _totals(report))]
    if report.failed:
        rows = [(file.path, file.outcome, file.reason, file.remedy) for file in report.failed]
        parts.append(_table(("file", "outcome", "reason", "what to do"), rows))
    if report.nodes:
        nodes = [
            (node.name, node.texts, f"{node.share:.0%}", sum(node.errors.values()), node.note)
            for node in report.nodes
        ]
        parts.append(_table(("node", "chunks", "share", "errors", "note"), nodes))
    return "\n".join(parts)


def _totals(report: IngestReport) -> Sequence[tuple[str, object]]:
    rows: list[tuple[str, object]] = [
        ("run", report.run_id),
        ("source", report.source),
        ("table", report.table),
        ("model", report.model or "none"),
        ("files", f"{len(report.files)} ({report.summary})"),
    ]
    if not report.dry_run:
        rows += [
            ("pages", report.pages),
            ("chunks", report.chunks),
            ("embedded", report.embedded),
            ("reused", report.reused),
            ("time", f"{report.seconds:.1f} s, {report.chunks_per_second:.1f} chunks/s"),
            *report.labelled().items(),
        ]
    return rows


def _table(names: Sequence[str], rows: Sequence[Iterable[object]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in names)
    cells = "".join(_row(row) for row in rows[:ROWS])
    more = f"<p>… and {len(rows) - ROWS} more</p>" if len(rows) > ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>{more}"


def _row(row: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<td>{escape_html(cell)}</td>' for cell in row)}</tr>"
