"""How results look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from prefect_ollama.blocks.lance import Hit
from prefect_ollama.flows import IngestReport, NodeRow

PASSAGE = 400
"""Characters of a passage to show."""


def report(what: IngestReport) -> RenderableType:
    """A run's report: totals, files that need attention, nodes."""
    outcomes = what.outcomes()
    totals = Table(
        title=f"{what.source} → {what.table} ({what.model or 'no model needed'})", title_justify="left"
    )
    for name in ("files", "pages", "chunks", "embedded", "reused", "failed", "seconds", "chunks/s", "node-s"):
        totals.add_column(name, justify="right")
    totals.add_row(
        str(len(what.files)),
        str(what.pages),
        str(what.chunks),
        str(what.embedded),
        str(what.reused),
        str(len(what.failed)),
        f"{what.seconds:.1f}",
        f"{what.chunks_per_second:.1f}",
        f"{what.node_seconds:.1f}",
    )
    parts: list[RenderableType] = [totals]
    parts.append(
        Text(
            ("Would be done: " if what.dry_run else "Files: ")
            + (", ".join(f"{count} {name}" for name, count in sorted(outcomes.items())) or "none")
        )
    )
    if what.nodes:
        nodes_table = Table(title="Nodes", title_justify="left")
        nodes_table.add_column("node")
        for name in ("chunks", "share", "busy s", "chunks/s", "errors"):
            nodes_table.add_column(name, justify="right")
        nodes_table.add_column("note")
        for node in what.nodes:
            nodes_table.add_row(
                escape(node.name),
                str(node.texts),
                f"{node.share:.0%}",
                f"{node.busy_seconds:.1f}",
                f"{node.texts_per_second:.1f}",
                str(sum(node.errors.values())),
                escape(node.note),
            )
        parts.append(nodes_table)
    if what.failed:
        failed = Table(title="Need attention", title_justify="left")
        for name in ("file", "outcome", "reason", "what to do"):
            failed.add_column(name, overflow="fold")
        for file in what.failed:
            failed.add_row(escape(file.path), file.outcome, escape(file.reason), escape(file.remedy))
        parts.append(failed)
    return Group(*parts)


def hits(found: Sequence[Hit]) -> RenderableType:
    """Passages, the best first."""
    if not found:
        return Text("Nothing found.")
    panels = []
    for number, hit in enumerate(found, 1):
        pages = (
            f"page {hit.page_from}"
            if hit.page_from == hit.page_to
            else f"pages {hit.page_from}-{hit.page_to}"
        )
        text = " ".join(hit.text.split())
        shown = text if len(text) <= PASSAGE else text[:PASSAGE].rsplit(" ", 1)[0] + " …"
        title = f"{number}. {hit.path}, {pages}" + (f" · {hit.heading}" if hit.heading else "")
        panels.append(
            Panel(Text(shown), title=escape(title), title_align="left", subtitle=f"{hit.score:.3f}")
        )
    return Group(*panels)


def nodes(rows: Sequence[NodeRow]) -> RenderableType:
    """The nodes and how they are."""
    table = Table(title="Nodes", title_justify="left")
    for name in ("node", "state", "version", "digest", "chunks/s"):
        table.add_column(name)
    table.add_column("note", overflow="fold")
    for row in rows:
        table.add_row(
            escape(row.name),
            row.state,
            escape(row.version),
            row.digest[:12],
            f"{row.texts_per_second:.1f}" if row.texts_per_second else "",
            escape(row.note),
        )
    return table
