"""The report of a run as a page: the Markdown that Prefect's UI shows as an artifact.

Guarantees: its length is bounded however many files a run has, files that need attention stand first; what comes
from outside, such as a file's name, a reason or a node's words, shows as the text it is and never as Markdown or
HTML.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

from prefect_ollama.blocks.table import DEFAULT_TABLE
from prefect_ollama.tasks.report import FileReport, IngestReport

ATTENTION = 100
"""Files that need attention to list, with reason and remedy."""

SOME = 10
"""Files of any other outcome to list."""

NODES = 100
"""Nodes to list."""

LONGEST = 400
"""Characters that one cell of a table holds at most."""

_ORDER = (
    "failed",
    "partial",
    "failed before",
    "new",
    "changed",
    "tried again",
    "stored",
    "renamed",
    "removed",
)
_ACTIVE = re.compile(r"([\\`*_{}\[\]|~$#!])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Those that turn the direction of what follows, so that a name reads as another.
_TURNING = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F])


def page(report: IngestReport, *, picture: str = "") -> str:
    """The page.

    Args:
        report: The report.
        picture: Markdown that shows the run over time, put below its totals; empty for none.
    """
    parts = [
        f"## {_headline(report)}",
        f"{escaped(report.source)} → {escaped(report.table)}, model {escaped(report.model or 'none')}, "
        f"run `{report.run_id}`",
        *_totals(report),
        picture,
        *_attention(report),
        *_others(report),
        *_nodes(report),
        *_way_back(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: str) -> str:
    """The text so that it shows as it is, in one line, also within a table.

    Control characters become spaces, those that turn the direction of writing are left out, and what is too long is
    cut with `…`.
    """
    text = text.encode("utf-8", "backslashreplace").decode().translate(_TURNING)
    text = " ".join("".join(each if each >= " " and each != "\x7f" else " " for each in text).split())
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    return _ACTIVE.sub(r"\\\1", re.sub("[&<>]", lambda found: _ENTITIES[found[0]], text))


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
    outcomes = report.outcomes()
    yield _table(
        ["files", *outcomes],
        [[str(len(report.files)), *(str(count) for count in outcomes.values())]],
    )
    if report.dry_run:
        return
    repeated = max(report.reused - report.from_cache - report.from_table, 0)
    yield _table(
        [
            "pages",
            "by OCR",
            "chunks",
            "embedded",
            "from cache",
            "from table",
            "repeated",
        ],
        [
            [
                str(report.pages),
                str(report.ocr_pages),
                str(report.chunks),
                str(report.embedded),
                str(report.from_cache),
                str(report.from_table),
                str(repeated),
            ]
        ],
    )
    if report.dropped:
        yield f"Characters dropped: {report.dropped_by_rule}."
    if report.ocr_pages:
        yield f"OCR took {report.ocr_seconds:.1f} s of the parsers."
    yield (
        f"{report.seconds:.1f} s, {report.chunks_per_second:.1f} chunks/s, {report.node_seconds:.1f} node-seconds."
    )


def _attention(report: IngestReport) -> Iterator[str]:
    if not report.failed:
        return
    yield "### Need attention"
    ordered = sorted(report.failed, key=lambda file: _ORDER.index(file.outcome))
    yield _table(
        ["file", "outcome", "reason", "what to do"],
        ([file.path, file.outcome, file.reason, file.remedy] for file in ordered[:ATTENTION]),
    )
    if len(ordered) > ATTENTION:
        yield (
            f"… and {len(ordered) - ATTENTION} more. The table's manifest holds all of them with reason and remedy, "
            "and so does what the flow returns."
        )


def _others(report: IngestReport) -> Iterator[str]:
    by_outcome: dict[str, list[FileReport]] = {}
    for file in report.files:
        by_outcome.setdefault(file.outcome, []).append(file)
    shown = [name for name in _ORDER if name in by_outcome and by_outcome[name][0] not in report.failed]
    for name in shown:
        files = by_outcome[name]
        yield f"### {name.capitalize()}: {len(files)}"
        yield _table(
            ["file", "pages", "chunks", "node-seconds"],
            (
                [file.path, str(file.pages), str(file.chunks), f"{file.node_seconds:.1f}"]
                for file in files[:SOME]
            ),
        )
        if len(files) > SOME:
            yield f"… and {len(files) - SOME} more."


def _nodes(report: IngestReport) -> Iterator[str]:
    if not report.nodes:
        return
    yield "### Nodes"
    yield _table(
        ["node", "chunks", "share", "busy s", "chunks/s", "errors", "note"],
        (
            [
                node.name,
                str(node.texts),
                f"{node.share:.0%}",
                f"{node.busy_seconds:.1f}",
                f"{node.texts_per_second:.1f}",
                str(sum(node.errors.values())),
                node.note,
            ]
            for node in report.nodes[:NODES]
        ),
    )
    if len(report.nodes) > NODES:
        yield f"… and {len(report.nodes) - NODES} more."


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


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(names), "|" + "---|" * len(names)]
    return "\n".join([*lines, *(_row([escaped(cell) for cell in row]) for row in rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _fenced(language: str, code: str) -> str:
    """A block of code in a fence longer than any that the code holds."""
    longest = max((len(ticks) for ticks in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
