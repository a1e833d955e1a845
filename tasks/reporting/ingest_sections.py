"""The content of the report of a run: its values, and its sections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.parsing import RULE_NAMES, DroppedLine
from prefect_ollama.tasks.reporting.sections import Item, Section

if TYPE_CHECKING:
    from prefect_ollama.tasks.reporting.ingest_report import IngestReport

# Entries that a page lists: files that need attention, of another outcome, of a dry run; dropped lines; nodes.
ATTENTION, SOME, PLANNED, LINES, NODES = 100, 10, 50, 20, 100

# Outcomes of files that are not in the table, or not whole.
FAILED = ("failed", "partial", "failed before")

# Sections of files come in this order: first those that need attention.
_ORDER = (*FAILED, "new", "changed", "tried again", "reread", "stored", "renamed", "moved", "removed")

# Verbs of a dry run; other outcomes are verbs already ("renamed").
_PLANNED = {"new": "stored (new)", "changed": "stored again (changed)", "reread": "read again"}


# Both texts are made here, so that page and terminal never differ in a number.
class Fact(NamedTuple):
    """A value of the whole report as text, and as several short rows for a narrow table."""

    label: str
    text: str
    rows: Mapping[str, str] = MappingProxyType({})


def run_facts(report: IngestReport) -> Iterator[Fact]:
    """Yield the values of a run."""
    outcomes = ", ".join(f"{number} {name}" for name, number in sorted(report.outcomes().items()))
    yield Fact("files", f"{len(report.files)} ({outcomes or 'none found'})")
    if not report.dry_run:
        yield from _work(report)
    if report.model:
        yield Fact("model", report.model)


def _work(report: IngestReport) -> Iterator[Fact]:
    yield Fact("pages", f"{report.pages}")
    yield Fact("chunks", f"{report.chunks}")
    yield Fact(
        "vectors",
        f"{report.embedded} embedded by nodes, {report.from_cache} from the cache, "
        f"{report.from_table} from the table, {report.repeated} repeated",
        {"embedded": f"{report.embedded}", "reused": f"{report.reused}", "failed": f"{len(report.failed)}"},
    )
    seconds, node_seconds = f"{report.seconds:.1f}", f"{report.node_seconds:.1f}"
    rows = {"seconds": seconds, "chunks/s": f"{report.chunks_per_second:.1f}", "node-seconds": node_seconds}
    yield Fact("time", f"{seconds} s, {rows['chunks/s']} chunks/s, {node_seconds} node-seconds", rows)
    if report.ocr_pages:
        yield Fact(
            "pages read by OCR",
            f"{report.ocr_pages}, in {report.ocr_seconds:.1f} s of the parsers",
            {"OCR": f"{quantity(report.ocr_pages, 'page')} in {report.ocr_seconds:.1f} s"},
        )
    if report.dropped:
        total = f"{quantity(sum(report.dropped.values()), 'character')} ({report.dropped_by_rule})"
        yield Fact("characters dropped", report.dropped_by_rule, {"dropped": total})
    if report.efficiency is not None:
        yield Fact("efficiency", f"{report.efficiency:.0%} of the nodes' own rates")
    if report.prompts:
        yield Fact("prompts", report.prompts)
    yield from (Fact(label, text) for label, text in report.labelled().items())


def short_facts(report: IngestReport) -> dict[str, str]:
    """Return the values of a run for a narrow table, by label."""
    rows = (fact.rows or {fact.label: fact.text} for fact in run_facts(report))
    return {label: text for each in rows for label, text in each.items()}


def run_sections(report: IngestReport) -> Iterator[Section]:
    """Yield the sections of a run's report that have items."""
    sections = [_attention(report), _not_read(report), _dropped_lines(report)]
    sections += [*_files(report), _nodes(report)]
    return (section for section in sections if section.items)


def _attention(report: IngestReport) -> Section:
    items = [
        Item(f"({file.outcome})", file.path, tuple(filter(None, (file.reason, file.remedy))))
        for file in sorted(report.failed, key=lambda file: _ORDER.index(file.outcome))
    ]
    return Section(
        "Need attention",
        items,
        ATTENTION,
        rest="The table's manifest holds all of them with reason and remedy, and so does what the flow returns.",
        trouble=True,
    )


def _not_read(report: IngestReport) -> Section:
    files = [file for file in report.files if file.notes]
    return Section(
        f"Not read of {quantity(len(files), 'file')}",
        [Item(" ".join(file.notes), file.path) for file in files],
        ATTENTION,
        rest="What the flow returns (`--json`) holds all of them (`notes`).",
    )


def _dropped_lines(report: IngestReport) -> Section:
    lines = [(file.path, line) for file in report.files for line in file.dropped_lines if line.text]
    # A line that was dropped often and wrongly does the most harm, so the most frequent ones come first.
    lines.sort(key=lambda each: -each[1].times)
    return Section(
        "Lines left out",
        [Item(_left_out(line), path) for path, line in lines],
        LINES,
        "These lines repeat from page to page, and so are not in the table. The option *Running heads* "
        "(`--running-heads keep`) keeps them.",
        "What the flow returns (`--json`) holds them by file (`dropped_lines`).",
    )


def _left_out(line: DroppedLine) -> str:
    # Page numbers are listed by the first one.
    others = " and others" if line.rule == "page-number" and line.times > 1 else ""
    return f"“{line.text}”{others} ({RULE_NAMES.get(line.rule, line.rule)}), {quantity(line.times, 'time')}"


def _files(report: IngestReport) -> Iterator[Section]:
    """Files by outcome; of a dry run, what would be done."""
    if report.dry_run:
        to_do = [file for file in report.files if file.outcome != "unchanged"]
        verbs = [_PLANNED.get(each.outcome, each.outcome) for each in to_do]
        items = [Item(f"would be {verb}: {each.path}") for verb, each in zip(verbs, to_do, strict=True)]
        yield Section("To do", items, PLANNED)
        return
    for name in _ORDER[len(FAILED) :]:
        items = [
            Item(
                f"{file.path}: {quantity(file.pages, 'page')}, {quantity(file.chunks, 'chunk')}, "
                f"{file.node_seconds:.1f} node-seconds"
            )
            for file in report.files
            if file.outcome == name
        ]
        yield Section(f"{name.capitalize()}: {len(items)}", items, SOME, page_only=True)


def _nodes(report: IngestReport) -> Section:
    items = []
    for node in report.nodes:
        share, busy, errors = f"{node.share:.0%}", f"{node.busy_seconds:.1f}", sum(node.errors.values())
        text = f"{quantity(node.texts, 'chunk')} ({share}), busy for {busy} s, {quantity(errors, 'error')}"
        cells = (f"{node.texts}", share, busy, f"{errors}")
        items.append(Item(text, node.name, tuple(node.error_lines()), cells))
    columns = ("node", "chunks", "share", "busy s", "errors")
    return Section("Nodes", items, NODES, columns=columns, drop=("busy s", "share"))
