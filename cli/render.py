"""Render results for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from prefect_ollama.blocks.cache import CacheStats
from prefect_ollama.blocks.documents import Run
from prefect_ollama.blocks.lance import Maintenance, Undo
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.console import line
from prefect_ollama.fitted_table import Fitted
from prefect_ollama.flows import ForgetReport, IngestReport, NodeStatus, NodeTuning, ReEmbedCost
from prefect_ollama.tasks.reporting import (
    Section,
    found_section,
    roll_back_command,
    run_sections,
    short_facts,
    status_section,
    tuning_sections,
)

# Removed documents to list.
PLANNED = 50

# Columns that hold numbers.
NUMBERS = ("chunks", "share", "busy s", "errors", "texts/s", "p95 s")


def report(what: IngestReport) -> RenderableType:
    """Return a run's report: totals, files that need attention, nodes. It fits into 80 columns."""
    parts: list[RenderableType] = [
        line(f"{what.source} → {what.table}", "bold"),
        _name_value_table(short_facts(what)),
    ]
    parts += [line(note, "yellow") for note in what.notes]
    for section in run_sections(what):
        if not section.page_only:
            parts += _section(section)
    return Group(*parts)


def _section(section: Section) -> Iterator[RenderableType]:
    # Items that need attention are shown whole.
    shown = section.items if section.trouble else section.items[: section.limit]
    if section.columns:
        cells = ((item.name, *item.cells) for item in shown)
        yield Fitted(section.columns, cells, drop=section.drop, numbers=NUMBERS)
        yield from (line(f"{item.name}: {text}", "yellow") for item in shown for text in item.below)
    else:
        if section.title:
            yield line(section.title, "bold")
        if section.note:
            yield line(section.note, "dim")
        for item in shown:
            yield line(f"{item.name}{item.separator}{item.text}", "red" if section.trouble else "")
            if item.below:
                yield Padding(Group(*map(line, item.below)), (0, 0, 0, 2))
    if more := section.more(len(shown)):
        yield line(more)


def _name_value_table(rows: Mapping[str, str]) -> Table:
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, line(value))
    return table


def forgotten(what: ForgetReport) -> RenderableType:
    """Return the documents that were removed from a table, or would be."""
    verb = "would be" if what.dry_run else "was" if len(what.documents) == 1 else "were"
    documents, chunks = quantity(len(what.documents), "document"), quantity(what.chunks, "chunk")
    parts = [line(f"{documents} with {chunks} {verb} removed from {what.table}", "bold")]
    parts += [line(f"{count} of source {source}") for source, count in what.sources.items()]
    parts += [line(f"   {each.path} ({quantity(each.chunks, 'chunk')})") for each in what.documents[:PLANNED]]
    if len(what.documents) > PLANNED:
        parts.append(line(f"   … and {len(what.documents) - PLANNED} more"))
    parts += [line(note, "yellow") for note in what.notes]
    parts += [line(f"`{roll_back_command(run, what.table)}` undoes it.", "dim") for run in what.runs]
    return Group(*parts)


def undo(what: Undo) -> RenderableType:
    """Return what a roll back would do."""
    change = (
        f"Of source {what.source}, {quantity(what.restored, 'document')} would be as before, and "
        f"{what.removed:,} would go. Other sources stay as they are."
    )
    if what.swap:
        chunks = quantity(what.chunks_then, "chunk")
        change = f"{chunks} from before the re-embedding would replace the present {what.chunks_now:,}."
    return Group(
        line(f"Rolling back would undo {', '.join(what.runs)} on {what.table}", "bold"), line(change)
    )


def re_embedding(what: ReEmbedCost) -> RenderableType:
    """Return what re-embedding would do, and its cost."""
    return Group(
        line(f"Re-embedding would embed all of {what.table} again", "bold"),
        line(
            f"Read again: {quantity(what.documents, 'document')} of {quantity(len(what.sources), 'source')}, with "
            f"{quantity(what.chunks, 'chunk')} and {quantity(what.tokens, 'token')}."
        ),
        line(what.work),
        *([line(what.losses, "yellow")] if what.losses else []),
        line(f"Their present vectors took {what.node_seconds:.0f} node-seconds."),
        line(
            f"The new table takes as much room as the old one until it replaces it: {what.data_bytes / 2**20:.0f} MiB. "
            "Searches use the old one until then."
        ),
    )


def nodes(rows: Sequence[NodeStatus]) -> RenderableType:
    """Return the status of nodes. In 80 columns names stay whole; digest and version are left out first."""
    return Group(*_section(status_section(rows)))


def found(nodes: Sequence[NodeStatus]) -> RenderableType:
    """Return the servers that were found. It fits into 80 columns."""
    return Group(*_section(found_section(nodes)))


def tuning(rows: Sequence[NodeTuning]) -> RenderableType:
    """Return what was measured of each node, the chosen setting marked. It fits into 80 columns."""
    return Group(*(part for section in tuning_sections(rows) for part in (*_section(section), Text())))


def runs(found: Sequence[Run]) -> RenderableType:
    """Runs over a table, in the order given, with what each changed."""
    if not found:
        return Text("No run yet.")
    parts: list[RenderableType] = []
    for run in found:
        when = _time(run.started_at)
        if run.ended_at is not None:
            when += f", {(run.ended_at - run.started_at).total_seconds():.1f} s"
        lines = [f"{run.kind} of {run.source}" if run.source else run.kind, f"{when}, on {run.host}"]
        if run.counts:
            lines.append(
                ", ".join(f"{count:g} {name.replace('_', ' ')}" for name, count in run.counts.items())
            )
        parts.append(line(f"{run.run_id} ({run.status})", "bold"))
        parts.append(Padding(Group(*map(line, lines)), (0, 0, 0, 3), expand=False))
    return Group(*parts)


def maintenance(what: Maintenance) -> RenderableType:
    """Return what maintenance did, as a table."""
    lines = [f"{step[:1].upper()}{step[1:]}." for step in what.done] or ["Nothing was due."]
    if what.left_over_files:
        lines.append(f"Deleted {quantity(what.left_over_files, 'file')} that killed writers left.")
    if what.peak_bytes:
        lines.append(f"It took {what.seconds:.1f} s and {what.peak_bytes / 2**20:.0f} MiB of memory.")
    return Group(*map(line, lines))


def cache(stats: CacheStats, *, emptied: bool) -> RenderableType:
    """Return what a vector cache holds, or held before it was emptied."""
    head = f"{stats.folder} is empty now; it held" if emptied else stats.folder
    rows = {
        "vectors": f"{stats.entries}",
        "size": f"{stats.bytes / 2**20:.1f} MiB of at most {stats.limit_bytes / 2**20:.0f}",
    }
    if stats.damaged:
        rows["damaged files"] = f"{stats.damaged}"
    if stats.oldest is not None and stats.newest is not None:
        rows["last used"] = f"{_time(stats.oldest)} to {_time(stats.newest)}"
    return Group(line(head, "bold"), _name_value_table(rows))


def _time(when: datetime) -> str:
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S}"
