"""The report of a run as a page: the Markdown that Prefect's UI shows as an artifact.

Guarantees: its length is bounded however many files a run has, files that need attention stand first; what comes
from outside, such as a file's name, a reason or a node's words, shows as the text it is and never as Markdown or
HTML. Only numbers stand in tables: both of Prefect's UIs cut a table off that is wider than their column of text, which
a long name makes it, and fold a list.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from prefect_ollama.blocks.by_address import DEFAULT_TABLE
from prefect_ollama.blocks.printable import escape_markdown, printable
from prefect_ollama.tasks.monitoring import Timeline
from prefect_ollama.tasks.reporting.report import FileReport, IngestReport, NodeReport
from prefect_ollama.tasks.reporting.timeline_chart import draw_timeline

ATTENTION = 100
"""Files that need attention to list, with reason and remedy."""

SOME = 10
"""Files of any other outcome to list."""

LINES = 50
"""Dropped lines to list, of all files together."""

NODES = 100
"""Nodes to list."""

_ORDER = (
    "failed",
    "partial",
    "failed before",
    "new",
    "changed",
    "tried again",
    "reread",
    "stored",
    "renamed",
    "moved",
    "removed",
)


def report_markdown(report: IngestReport, *, picture: str = "") -> str:
    """Return the page.

    Args:
        report: The report.
        picture: Markdown that shows the run over time, put below its totals; empty for none.
    """
    parts = [
        f"## {_headline(report)}",
        f"{escape_markdown(report.source)} → {escape_markdown(report.table)}, "
        f"model {escape_markdown(report.model or 'none')}, run `{report.run_id}`",
        *(escape_markdown(note) for note in report.notes),
        *_totals(report),
        picture,
        *_attention(report),
        *_not_read(report),
        *_dropped_lines(report),
        *_others(report),
        *_nodes(report),
        *_way_back(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(report: IngestReport) -> str:
    files = len(report.files)
    if report.dry_run:
        return f"{len(report.left)} of {_count(files, 'file')} would be read"
    if report.failed or report.left:
        parts = [f"{len(report.failed)} need attention"] if report.failed else []
        parts += [f"{len(report.left)} are left to do"] if report.left else []
        return f"Of {_count(files, 'file')} {' and '.join(parts)}"
    return f"All of {_count(files, 'file')} are as they should be" if files else "No files"


def _totals(report: IngestReport) -> Iterator[str]:
    outcomes = ", ".join(f"{count} {name}" for name, count in report.outcomes().items())
    facts = {"files": f"{len(report.files)} ({outcomes})" if outcomes else "0"}
    if not report.dry_run:
        facts |= _work(report)
    yield "\n".join(f"- **{name}**: {escape_markdown(value)}" for name, value in facts.items())


def _work(report: IngestReport) -> dict[str, str]:
    facts = {
        "pages": f"{report.pages}",
        "chunks": f"{report.chunks}",
        "vectors": f"{report.embedded} embedded by nodes, {report.from_cache} from the cache, "
        f"{report.from_table} from the table, {report.repeated} repeated",
        "time": f"{report.seconds:.1f} s, {report.chunks_per_second:.1f} chunks/s, "
        f"{report.node_seconds:.1f} node-seconds",
    }
    if report.ocr_pages:
        facts["pages read by OCR"] = f"{report.ocr_pages}, in {report.ocr_seconds:.1f} s of the parsers"
    if report.dropped:
        facts["characters dropped"] = report.dropped_by_rule
    if report.prompts:
        facts["prompts"] = report.prompts
    return facts | report.labelled()


def _attention(report: IngestReport) -> Iterator[str]:
    if not report.failed:
        return
    yield "### Need attention"
    ordered = sorted(report.failed, key=lambda file: _ORDER.index(file.outcome))
    yield "\n".join(_failed(file) for file in ordered[:ATTENTION])
    if len(ordered) > ATTENTION:
        yield (
            f"… and {len(ordered) - ATTENTION} more. The table's manifest holds all of them with reason and remedy, "
            "and so does what the flow returns."
        )


def _failed(file: FileReport) -> str:
    lines = [f"- **{escape_markdown(file.path)}** ({file.outcome})"]
    lines += [f"  - {escape_markdown(text)}" for text in (file.reason, file.remedy) if text]
    return "\n".join(lines)


def _not_read(report: IngestReport) -> Iterator[str]:
    """What of files that were read is not in the table."""
    files = [file for file in report.files if file.notes]
    if not files:
        return
    yield f"### Not read of {_count(len(files), 'file')}"
    yield "\n".join(
        f"- **{escape_markdown(file.path)}**: {escape_markdown(' '.join(file.notes))}"
        for file in files[:ATTENTION]
    )
    if len(files) > ATTENTION:
        yield f"… and {len(files) - ATTENTION} more. What the flow returns holds all of them (`notes`)."


def _dropped_lines(report: IngestReport) -> Iterator[str]:
    """Lines that repeat, and were left out of the text."""
    lines = [(file.path, line) for file in report.files for line in file.dropped_lines if line.text]
    if not lines:
        return
    yield "### Lines dropped"
    yield (
        "Running heads, feet and page numbers that repeat. The option *Running heads* (`--running-heads keep`) keeps "
        "them."
    )
    lines.sort(key=lambda each: -each[1].times)
    yield "\n".join(
        f"- {line.times} × {escape_markdown(line.text)} ({line.rule}, {escape_markdown(path)})"
        for path, line in lines[:LINES]
    )
    if len(lines) > LINES:
        yield f"… and {len(lines) - LINES} more. What the flow returns holds them by file (`dropped_lines`)."


def _others(report: IngestReport) -> Iterator[str]:
    by_outcome: dict[str, list[FileReport]] = {}
    for file in report.files:
        by_outcome.setdefault(file.outcome, []).append(file)
    shown = [name for name in _ORDER if name in by_outcome and by_outcome[name][0] not in report.failed]
    for name in shown:
        files = by_outcome[name]
        yield f"### {name.capitalize()}: {len(files)}"
        yield "\n".join(
            f"- {escape_markdown(file.path)}: {_count(file.pages, 'page')}, {_count(file.chunks, 'chunk')}, "
            f"{file.node_seconds:.1f} node-seconds"
            for file in files[:SOME]
        )
        if len(files) > SOME:
            yield f"… and {len(files) - SOME} more."


def _nodes(report: IngestReport) -> Iterator[str]:
    if not report.nodes:
        return
    yield "### Nodes"
    yield "\n".join(_node(node) for node in report.nodes[:NODES])
    if len(report.nodes) > NODES:
        yield f"… and {len(report.nodes) - NODES} more."


def _node(node: NodeReport) -> str:
    errors = _count(sum(node.errors.values()), "error")
    said = (
        f"- **{escape_markdown(node.name)}**: {_count(node.texts, 'chunk')} ({node.share:.0%}), "
        f"busy for {node.busy_seconds:.1f} s, {errors}"
    )
    return "\n  - ".join([said, *map(escape_markdown, node.told())])


def _way_back(report: IngestReport) -> Iterator[str]:
    if not report.version:
        return
    uri, _, table = report.table.rpartition("/")
    usual = table == DEFAULT_TABLE
    command = [
        "prefect-ollama",
        "roll-back",
        report.run_id,
        "--uri",
        uri,
        *([] if usual else ["--table", table]),
    ]
    place = repr(uri) if usual else f"LanceTable(uri={uri!r}, table={table!r})"
    yield "### The way back"
    yield (
        f"The table is at version {report.version}. To make it what it was before this run, start the flow "
        f"`roll-back` in the UI with `{report.run_id}` as *Run*, or"
    )
    yield _fenced("sh", shlex.join(command))
    yield _fenced("python", f"roll_back({report.run_id!r}, {place})")
    if "://" in uri:
        yield "A table that needs storage options is named by its block instead (`--block`, or its name)."


def _fenced(language: str, code: str) -> str:
    """A block of code in a fence longer than any that the code holds."""
    longest = max((len(ticks) for ticks in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{printable(code, lines=True)}\n{fence}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def run_chart(report: IngestReport, timeline: Timeline | None) -> str:
    """Markdown that shows how a run went.

    The picture is in the text itself, so that it lasts as long as the artifact and needs nothing from elsewhere.

    Args:
        report: The report.
        timeline: What each node did when, None where nobody watched.

    Returns:
        The Markdown, empty where no node embedded anything.
    """
    parts: list[str] = []
    picture = draw_timeline(timeline) if timeline is not None else None
    if picture is not None:
        parts.append(f"![Texts a second over the run, by node]({picture.uri()})")
    if report.efficiency is not None:
        parts.append(
            f"The nodes gave {report.efficiency:.0%} of what they can: of the texts that they would have embedded at "
            "their own rates, had none of them waited from the first text to the last."
        )
    return "\n\n".join(parts)
