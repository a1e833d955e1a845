"""The report of a run as HTML tables, for notebooks.

Guarantees: text from outside is escaped. The length is bounded for any number of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from prefect_ollama.blocks.printable import escape_html
from prefect_ollama.tasks.reporting.ingest_sections import short_facts

if TYPE_CHECKING:
    from prefect_ollama.tasks.reporting.report import IngestReport

# Rows of a table at most: a notebook keeps them in its file.
MAX_ROWS = 100


def report_html(report: IngestReport) -> str:
    """Return tables of the totals, the files that need attention, and the nodes."""
    totals = {"run": report.run_id, "source": report.source, "table": report.table, **short_facts(report)}
    totals["files"] = f"{len(report.files)} ({report.summary})"
    parts = [_table(("", ""), list(totals.items()))]
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


def _table(names: Sequence[str], rows: Sequence[Iterable[object]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in names)
    cells = "".join(_row(row) for row in rows[:MAX_ROWS])
    more = f"<p>… and {len(rows) - MAX_ROWS} more</p>" if len(rows) > MAX_ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>{more}"


def _row(row: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<td>{escape_html(cell)}</td>' for cell in row)}</tr>"
