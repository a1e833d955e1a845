"""How results look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from prefect_ollama.blocks.lance import Hit
from prefect_ollama.flows import FileReport, IngestReport, NodeReport, NodeRow

PASSAGE = 400
"""Characters of a passage to show."""

PLANNED = 50
"""Files of a dry run to list."""


def report(what: IngestReport) -> RenderableType:
    """A run's report: totals, nodes, files that need attention. It fits into 80 columns."""
    parts: list[RenderableType] = [_line(f"{what.source} → {what.table}", "bold"), _totals(what)]
    if what.dry_run:
        to_do = [file for file in what.files if file.outcome != "unchanged"]
        parts += [_line(f"would be {_PLANNED.get(f.outcome, f.outcome)}: {f.path}") for f in to_do[:PLANNED]]
        if len(to_do) > PLANNED:
            parts.append(_line(f"… and {len(to_do) - PLANNED} more"))
    if what.nodes:
        parts.append(_nodes(what.nodes))
        parts += [_line(f"{node.name}: {node.note}", "yellow") for node in what.nodes if node.note]
    if what.failed:
        parts.append(_line("Need attention", "bold"))
        parts += [_attention(file) for file in what.failed]
    return Group(*parts)


_PLANNED = {"new": "stored (new)", "changed": "stored again (changed)"}


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, overflow="fold")


def _totals(what: IngestReport) -> Table:
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(what.outcomes().items())) or "none found"
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    rows = {"files": f"{len(what.files)} ({outcomes})"}
    if not what.dry_run:
        rows |= {
            "pages": f"{what.pages}",
            "chunks": f"{what.chunks}",
            "embedded": f"{what.embedded}",
            "reused": f"{what.reused}",
            "failed": f"{len(what.failed)}",
            "seconds": f"{what.seconds:.1f}",
            "chunks/s": f"{what.chunks_per_second:.1f}",
            "node-seconds": f"{what.node_seconds:.1f}",
        }
    if what.model:
        rows["model"] = what.model
    for name, value in rows.items():
        table.add_row(name, escape(value))
    return table


def _nodes(nodes: Sequence[NodeReport]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("node", overflow="fold")
    for name in ("chunks", "share", "busy s", "chunks/s", "errors"):
        table.add_column(name, justify="right", no_wrap=True)
    for node in nodes:
        table.add_row(
            escape(node.name),
            str(node.texts),
            f"{node.share:.0%}",
            f"{node.busy_seconds:.1f}",
            f"{node.texts_per_second:.1f}",
            str(sum(node.errors.values())),
        )
    return table


def _attention(file: FileReport) -> RenderableType:
    told = [_line(f"{file.path} ({file.outcome})", "red")]
    told += [_line(text) for text in (file.reason, file.remedy) if text]
    return Group(told[0], Padding(Group(*told[1:]), (0, 0, 0, 2)))


def hits(found: Sequence[Hit]) -> RenderableType:
    """Passages, the best first."""
    if not found:
        return Text("Nothing found.")
    parts: list[RenderableType] = []
    for number, hit in enumerate(found, 1):
        pages = (
            f"page {hit.page_from}"
            if hit.page_from == hit.page_to
            else f"pages {hit.page_from}-{hit.page_to}"
        )
        text = " ".join(hit.text.split())
        shown = text if len(text) <= PASSAGE else text[:PASSAGE].rsplit(" ", 1)[0] + " …"
        parts.append(_line(f"{number}. {hit.path}, {pages} ({hit.score:.3f})", "bold"))
        told = [_line(hit.heading, "dim")] if hit.heading else []
        parts.append(Padding(Group(*told, _line(shown)), (0, 0, 1, 3)))
    return Group(*parts)


def nodes(rows: Sequence[NodeRow]) -> RenderableType:
    """The nodes and how they are. It fits into 80 columns."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("node", overflow="fold")
    for name in ("state", "version", "digest", "chunks/s"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        rate = f"{row.texts_per_second:.1f}" if row.texts_per_second else ""
        table.add_row(escape(row.name), row.state, escape(row.version), row.digest[:12], rate)
    return Group(table, *(_line(f"{row.name}: {row.note}", "yellow") for row in rows if row.note))
