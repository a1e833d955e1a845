"""Reports of runs and of tuning, and answers, as Markdown, which Prefect's UI shows as artifacts.

Guarantees: the length is bounded for any number of files. Files that need attention come first. Text from outside, such
as file names and errors of nodes, is escaped. Names are in lists, not in tables: both of Prefect's UIs cut off a table
that is wider than their column of text, and fold a list.
"""

import base64
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prefect_ollama.blocks.documents import Quote
from prefect_ollama.blocks.nodes import UNKNOWN
from prefect_ollama.blocks.printable import escape_markdown, printable
from prefect_ollama.blocks.resolve import DEFAULT_TABLE
from prefect_ollama.tasks.monitoring import Timeline
from prefect_ollama.tasks.reporting.answer_report import Line, Marks, Rows
from prefect_ollama.tasks.reporting.ingest_report import IngestReport
from prefect_ollama.tasks.reporting.ingest_sections import run_facts, run_sections
from prefect_ollama.tasks.reporting.sections import Item, Section
from prefect_ollama.tasks.reporting.timeline_chart import draw_timeline
from prefect_ollama.tasks.reporting.tuning_report import NodeTuning, tuning_sections
from prefect_ollama.tasks.searching import MarkedPage

_SIGNS = {"title": "# ", "heading": "## ", "part": "### ", "item": "- "}


def report_markdown(report: IngestReport, *, picture: str = "") -> str:
    """Return the page.

    Args:
        picture: Markdown with the chart of the run, below its totals; empty for none.
    """
    # From the most urgent to the least: whether all is well, then what to do, then details.
    parts = [
        f"## {report.summary[:1].upper()}{report.summary[1:]}",
        f"{escape_markdown(report.source)} → {escape_markdown(report.table)}, run `{report.run_id}`",
        *(escape_markdown(note) for note in report.notes),
        "\n".join(f"- **{fact.label}**: {escape_markdown(fact.text)}" for fact in run_facts(report)),
        picture,
        *map(section_markdown, run_sections(report)),
        *_roll_back(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def tuning_markdown(rows: Sequence[NodeTuning], model: str) -> str:
    """Return the page: the nodes, then a chart and the measurements of each."""
    head = f"Model {escape_markdown(model)}. The setting in the frame is the smallest that reaches 97 % of the best."
    return "\n\n".join([head, *map(section_markdown, tuning_sections(rows))]) + "\n"


def section_markdown(section: Section) -> str:
    """Return a section as a list, because Prefect's UIs cut a table off that a long name makes too wide."""
    shown = section.items[: section.limit]
    title = f"### {escape_markdown(section.title)}" if section.title else ""
    items = "\n".join(_item(item, section.columns if section.spelled else ()) for item in shown)
    return "\n\n".join(filter(None, (title, section.note, section.picture, items, section.more(len(shown)))))


def _item(item: Item, columns: Sequence[str]) -> str:
    name = f"**{escape_markdown(item.name)}**" if item.name else ""
    cells = [
        f"{column}: {cell or UNKNOWN}" for column, cell in zip(columns[2:], item.cells[1:], strict=False)
    ]
    said = f"- {name}{item.separator}{escape_markdown(item.text)}"
    return "\n  - ".join([said, *map(escape_markdown, (*item.below, *cells))])


def roll_back_command(run: str, place: str) -> str:
    """Return the command that undoes a run, from the place of its table (`uri/table`)."""
    uri, _, table = place.rpartition("/")
    command = ["prefect-ollama", "roll-back", run, "--uri", uri]
    return shlex.join(command if table == DEFAULT_TABLE else [*command, "--table", table])


def _roll_back(report: IngestReport) -> Iterator[str]:
    if not report.version:
        return
    uri, _, table = report.table.rpartition("/")
    place = repr(uri) if table == DEFAULT_TABLE else f"LanceTable(uri={uri!r}, table={table!r})"
    yield "### Roll back"
    yield (
        f"The table is at version {report.version}. To restore it as it was before this run, start the flow "
        f"`roll-back` in the UI with `{report.run_id}` as *Run*, or"
    )
    yield _fenced("sh", roll_back_command(report.run_id, report.table))
    yield _fenced("python", f"roll_back({report.run_id!r}, {place})")
    if "://" in uri:
        # Storage options may hold secrets, so they are never in a report.
        yield "If the table needs storage options, name its block instead (`--block`, or its name)."


def _fenced(language: str, code: str) -> str:
    # The fence is longer than any run of backticks in the code, which would end it.
    longest = max((len(ticks) for ticks in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{printable(code, lines=True)}\n{fence}"


def run_chart(report: IngestReport, timeline: Timeline | None) -> str:
    """Return the chart of a run as Markdown.

    The picture is a `data:` URI, so it exists as long as the artifact and loads nothing.

    Args:
        timeline: The work of each node over time; None if the run was not watched.

    Returns:
        The Markdown; empty if no node embedded anything.
    """
    parts: list[str] = []
    picture = draw_timeline(timeline) if timeline is not None else None
    if picture is not None:
        parts.append(f"![Texts a second over the run, by node]({picture.uri()})")
    if report.efficiency is not None:
        parts.append(
            f"Efficiency {report.efficiency:.0%}: the part of the texts that the nodes would have embedded at their "
            "own rates without ever waiting, from the first text to the last."
        )
    return "\n\n".join(parts)


def lines_markdown(
    lines: Iterable[Line | Rows], pages: Mapping[Quote, Sequence[MarkedPage]] | None = None
) -> str:
    """Return an answer or a report; below each quote the pictures of its `pages`."""
    parts: list[str] = []
    for each in lines:
        if isinstance(each, Rows):
            parts.append(_rows(each))
            continue
        if each.only == "terminal":
            continue
        words = f": “{escape_markdown(each.words)}”" if each.words else ""
        # Apart, because Markdown takes `[1][2]` for a link.
        said = (
            part.replace("][", "] [") if isinstance(part, Marks) else escape_markdown(part)
            for part in each.parts
        )
        text = " ".join(said)
        parts.append(f"{_SIGNS.get(each.kind, '')}{text}{words}")
        for page in (pages or {}).get(each.quote, ()) if each.quote else ():
            if page.note:
                parts.append(f"Page {page.page}: {escape_markdown(page.note)}")
            if page.png:
                parts.append(picture_markdown(f"quote {each.parts[0][1:-1]} on page {page.page}", page.png))
    return "\n\n".join(parts) + "\n"


def picture_markdown(title: str, png: bytes) -> str:
    """Return a picture in the text itself, so that it exists as long as the artifact, and loads nothing."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"


def _rows(rows: Rows) -> str:
    rule = ("---:" if name in rows.numbers else "---" for name in rows.columns)
    cells = (map(escape_markdown, each) for each in rows.cells)
    return "\n".join(f"| {' | '.join(each)} |" for each in (rows.columns, rule, *cells))
