"""How results look in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from prefect_ollama.blocks.cache import CacheStats
from prefect_ollama.blocks.documents import Run
from prefect_ollama.blocks.lance import Maintenance, Undo
from prefect_ollama.console import line
from prefect_ollama.fitted import Fitted
from prefect_ollama.flows import (
    FileReport,
    ForgetReport,
    IngestReport,
    NodeReport,
    NodeStatus,
    ReEmbedCost,
    ReEmbedPreview,
)

PLANNED = 50
"""Files of a dry run to list."""

LINES = 10
"""Lines that parsing left out to list."""


def report(what: IngestReport) -> RenderableType:
    """A run's report: totals, nodes, files that need attention. It fits into 80 columns."""
    parts: list[RenderableType] = [line(f"{what.source} → {what.table}", "bold"), _totals(what)]
    parts += [line(note, "yellow") for note in what.notes]
    if what.dry_run:
        to_do = [file for file in what.files if file.outcome != "unchanged"]
        parts += [line(f"would be {_PLANNED.get(f.outcome, f.outcome)}: {f.path}") for f in to_do[:PLANNED]]
        if len(to_do) > PLANNED:
            parts.append(line(f"… and {len(to_do) - PLANNED} more"))
    if what.nodes:
        parts.append(_nodes(what.nodes))
        parts += [line(f"{node.name}: {told}", "yellow") for node in what.nodes for told in node.told()]
    if what.failed:
        parts.append(line("Need attention", "bold"))
        parts += [_attention(file) for file in what.failed]
    if noted := [file for file in what.files if file.notes]:
        parts.append(line("Not read", "bold"))
        parts += [_noted(file) for file in noted[:PLANNED]]
        if len(noted) > PLANNED:
            parts.append(line(f"… and {len(noted) - PLANNED} more; --json lists all (`notes`)"))
    if lines := [(file.path, each) for file in what.files for each in file.dropped_lines if each.text]:
        lines.sort(key=lambda each: -each[1].times)
        parts.append(line("Lines dropped (--running-heads keep keeps them)", "bold"))
        parts += [line(f"{each.times} × {each.text} ({each.rule}, {path})") for path, each in lines[:LINES]]
        if len(lines) > LINES:
            parts.append(line(f"… and {len(lines) - LINES} more; --json lists all (`dropped_lines`)"))
    return Group(*parts)


_PLANNED = {"new": "stored (new)", "changed": "stored again (changed)", "reread": "read again"}


def _totals(what: IngestReport) -> Table:
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(what.outcomes().items())) or "none found"
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
        if what.dropped:
            rows["dropped"] = f"{sum(what.dropped.values()):,} characters ({what.dropped_by_rule})"
        if what.ocr_pages:
            rows["OCR"] = f"{what.ocr_pages} pages in {what.ocr_seconds:.1f} s"
        if what.efficiency is not None:
            rows["efficiency"] = f"{what.efficiency:.0%} of the nodes' own rates"
        rows |= what.labelled()
    if what.model:
        rows["model"] = what.model
    if what.prompts:
        rows["prompts"] = what.prompts
    return _named(rows)


def _named(rows: Mapping[str, str]) -> Table:
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, line(value))
    return table


def _nodes(nodes: Sequence[NodeReport]) -> Fitted:
    numbers = ("chunks", "share", "busy s", "errors")
    rows = (
        (node.name, node.texts, f"{node.share:.0%}", f"{node.busy_seconds:.1f}", sum(node.errors.values()))
        for node in nodes
    )
    return Fitted(("node", *numbers), rows, drop=("busy s", "share"), numbers=numbers)


def _noted(file: FileReport) -> RenderableType:
    return Group(line(file.path), Padding(Group(*map(line, file.notes)), (0, 0, 0, 2)))


def _attention(file: FileReport) -> RenderableType:
    told = [line(f"{file.path} ({file.outcome})", "red")]
    told += [line(text) for text in (file.reason, file.remedy) if text]
    return Group(told[0], Padding(Group(*told[1:]), (0, 0, 0, 2)))


def forgotten(what: ForgetReport) -> RenderableType:
    """What was taken out of a table, or would be."""
    verb = "would be taken out of" if what.dry_run else "were taken out of"
    parts = [line(f"{len(what.documents)} documents with {what.chunks} chunks {verb} {what.table}", "bold")]
    parts += [line(f"{count} of source {source}") for source, count in what.sources.items()]
    parts += [line(f"   {each.path} ({each.chunks} chunks)") for each in what.documents[:PLANNED]]
    if len(what.documents) > PLANNED:
        parts.append(line(f"   … and {len(what.documents) - PLANNED} more"))
    parts += [line(note, "yellow") for note in what.notes]
    parts += [line(f"`prefect-ollama roll-back {run}` undoes it.", "dim") for run in what.runs]
    return Group(*parts)


def undo(what: Undo) -> RenderableType:
    """What a roll back would do."""
    runs = ", ".join(what.runs)
    parts = [line(f"Rolling back would undo {runs} on {what.table}", "bold")]
    if what.swap:
        parts.append(
            line(f"All {what.chunks_now} chunks become the {what.chunks_then} from before the re-embedding.")
        )
    else:
        parts.append(
            line(
                f"Of source {what.source}, {what.restored} documents become what they were before, and {what.removed} "
                "go. Other sources stay as they are."
            )
        )
    return Group(*parts)


def re_embedding(what: ReEmbedPreview, cost: ReEmbedCost) -> RenderableType:
    """What re-embedding would do, and what it would cost."""
    return Group(
        line(f"Re-embedding would embed all of {what.table} anew", "bold"),
        line(
            f"{what.documents} documents of {len(what.sources)} sources are read again: {what.chunks} chunks, "
            f"{what.tokens} tokens."
        ),
        line(cost.work),
        line(f"Nodes worked {what.node_seconds:.0f} node-seconds on them before."),
        line(
            f"The new table takes as much room as the old one until it replaces it: {what.data_bytes / 2**20:.0f} MiB. "
            "Searches use the old one until then."
        ),
    )


def nodes(rows: Sequence[NodeStatus]) -> RenderableType:
    """Return the nodes and how they are. In 80 columns their names stay whole; digest and version go first."""
    table = Fitted(
        ("node", "state", "in memory", "kind", "version", "digest"),
        ((row.name, row.state, row.in_memory, row.kind, row.version, row.digest[:12]) for row in rows),
        drop=("digest", "version", "kind"),
    )
    return Group(table, *(line(f"{row.name}: {row.error}", "yellow") for row in rows if row.error))


def found(nodes: Sequence[NodeStatus]) -> RenderableType:
    """The servers that were found. It fits into 80 columns."""
    if not nodes:
        return Text("No Ollama server found.")
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("address", "block", "version", "models"):
        table.add_column(name, overflow="fold")
    for node in nodes:
        block = node.name if node.saved else f"({node.name})"
        table.add_row(*map(line, (node.url, block, node.version, ", ".join(node.models))))
    unsaved = [] if all(node.saved for node in nodes) else [line("Names in brackets: not saved yet.", "dim")]
    return Group(table, *unsaved)


def runs(found: Sequence[Run]) -> RenderableType:
    """Runs over a table, in the order given, with what each changed."""
    if not found:
        return Text("No run yet.")
    parts: list[RenderableType] = []
    for run in found:
        when = _time(run.started_at)
        if run.ended_at is not None:
            when += f", {(run.ended_at - run.started_at).total_seconds():.1f} s"
        told = [f"{run.kind} of {run.source}" if run.source else run.kind, f"{when}, on {run.host}"]
        if run.counts:
            told.append(
                ", ".join(f"{count:g} {name.replace('_', ' ')}" for name, count in run.counts.items())
            )
        parts.append(line(f"{run.run_id} ({run.status})", "bold"))
        parts.append(Padding(Group(*map(line, told)), (0, 0, 0, 3), expand=False))
    return Group(*parts)


def maintenance(what: Maintenance) -> RenderableType:
    """Return what maintenance did, as a table."""
    told = [f"{step[:1].upper()}{step[1:]}." for step in what.done] or ["Nothing was due."]
    if what.left_over_files:
        told.append(f"Deleted {what.left_over_files} files that killed writers left.")
    if what.peak_bytes:
        told.append(f"It took {what.seconds:.1f} s and {what.peak_bytes / 2**20:.0f} MiB of memory.")
    return Group(*map(line, told))


def cache(stats: CacheStats, *, emptied: bool) -> RenderableType:
    """What a vector cache holds, or held before it was emptied."""
    head = f"{stats.folder} is empty now; it held" if emptied else stats.folder
    rows = {
        "vectors": f"{stats.entries}",
        "size": f"{stats.bytes / 2**20:.1f} MiB of at most {stats.limit_bytes / 2**20:.0f}",
    }
    if stats.damaged:
        rows["damaged files"] = f"{stats.damaged}"
    if stats.oldest is not None and stats.newest is not None:
        rows["last used"] = f"{_time(stats.oldest)} to {_time(stats.newest)}"
    return Group(line(head, "bold"), _named(rows))


def _time(when: datetime) -> str:
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S}"
