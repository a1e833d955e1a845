"""What a run did, for people and for programs: every file's fate, and every node's share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from prefect_ollama.blocks.awaited import Awaitable
from prefect_ollama.blocks.documents import Document
from prefect_ollama.tasks.dispatch import NodeStats
from prefect_ollama.tasks.parse import LeftOut
from prefect_ollama.tasks.parsing import DroppedLine
from prefect_ollama.tasks.reporting._html import report_html
from prefect_ollama.tasks.reporting.run_statistics import RunStatistics, statistics_dict
from prefect_ollama.tasks.reporting.sections import FAILED

# What became of a file. The last four are those that a dry run would read, or a run that failed did not get to.
Outcome = Literal[
    "stored",
    "partial",
    "failed",
    "unchanged",
    "renamed",
    "moved",
    "removed",
    "kept",
    "failed before",
    "new",
    "changed",
    "tried again",
    "reread",
]

# Causes of failure of a node to list.
CAUSES = 20

LEFT: frozenset[str] = frozenset({"new", "changed", "tried again", "reread"})

UP_TO_DATE: frozenset[str] = frozenset({"stored", "unchanged", "renamed", "moved", "removed", "kept"})


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file.

    Attributes:
        path: Path within the source.
        outcome: In a word.
        pages: Its pages.
        chunks: Its chunks in the table.
        reason: Why it failed or is partial.
        remedy: What to do about it.
        node_seconds: Node time that went into it.
        notes: What of it was not read, such as attached files, though the file is stored.
        dropped_lines: Lines that parsing left out on purpose, with rule and count; a last one without text counts those
            that are not listed.
    """

    path: str
    outcome: Outcome
    pages: int = 0
    chunks: int = 0
    reason: str = ""
    remedy: str = ""
    node_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    dropped_lines: tuple[DroppedLine, ...] = ()

    @classmethod
    def of(cls, row: Document, outcome: Outcome, left_out: LeftOut | None = None) -> FileReport:
        """The report of a manifest row, with what of the file is not in its chunks."""
        left_out = left_out or LeftOut()
        return cls(
            row.path,
            outcome,
            row.pages,
            row.chunks,
            row.reason,
            row.remedy,
            row.node_seconds,
            left_out.notes,
            left_out.lines,
        )


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What one node did.

    Attributes:
        name: Its name.
        texts: Chunks whose vector came from it.
        share: Part of all chunks that nodes embedded, 0 to 1.
        busy_seconds: Time in which it had work.
        texts_per_second: Mean over its busy time.
        errors: Cause to count.
        note: Why it was left out, or its last error.
    """

    name: str
    texts: int
    share: float
    busy_seconds: float
    texts_per_second: float
    errors: dict[str, int]
    note: str = ""

    def told(self) -> list[str]:
        """Return a line for each cause of failure with its count, most frequent first, and why it was left out.

        The last error stands there with what to do about it.
        """
        lines: list[str] = []
        last = self.note
        for cause, count in Counter(self.errors).most_common(CAUSES):
            shown = self.note if self.note.startswith(cause) else cause
            if shown is self.note:
                last = ""
            lines.append(f"{count} × {shown.removeprefix(f'Node {self.name!r}: ')}")
        if len(self.errors) > CAUSES:
            rest = Counter(self.errors).most_common()[CAUSES:]
            lines.append(f"{sum(count for _, count in rest)} × {len(rest)} other causes")
        return [*lines, last] if last else lines


@dataclass(frozen=True, slots=True)
class IngestReport(RunStatistics, Awaitable):
    """What a run did, with what it counted (`RunStatistics`).

    Attributes:
        run_id: Name of the run; `roll_back` takes it.
        source: Name of the source.
        table: Where the table is.
        model: The model that embedded.
        dry_run: Whether this is only what would be done.
        files: One for each file, by path.
        version: Version of the chunk table after it; 0 where the run changed nothing that anybody reads.
        seconds: Time of the run.
        efficiency: Texts that nodes embedded, as a part of what they would have at their own rates had none of them
            waited (`efficiency` of `prefect_ollama.tasks.monitoring`); None where no node embedded anything.
        nodes: What each node did.
        outdated: Documents that stay as an earlier parser or chunker read them; `reread` reads them again.
        notes: What else to know of the source: that others overlap it, that it was moved, or is empty.
        document_prefix: Prompt that stands before each passage when it is embedded.
        query_prefix: Prompt that stands before each question.
    """

    run_id: str
    source: str
    table: str
    model: str
    dry_run: bool
    files: tuple[FileReport, ...]
    version: int = 0
    seconds: float = 0.0
    efficiency: float | None = None
    nodes: tuple[NodeReport, ...] = field(default=())
    outdated: int = 0
    notes: tuple[str, ...] = ()
    document_prefix: str = ""
    query_prefix: str = ""

    @property
    def prompts(self) -> str:
        """The prompts of the table, for people; empty where it has none."""
        parts = ((self.document_prefix, "passages"), (self.query_prefix, "questions"))
        return ", ".join(f"{prompt!r} before {what}" for prompt, what in parts if prompt)

    @property
    def ok(self) -> bool:
        """Whether every file is stored whole or was up to date."""
        return all(file.outcome in UP_TO_DATE for file in self.files) or self.dry_run

    @property
    def failed(self) -> tuple[FileReport, ...]:
        """Files of which something is missing in the table."""
        return tuple(file for file in self.files if file.outcome in FAILED)

    @property
    def left(self) -> tuple[FileReport, ...]:
        """Files that the run did not get to, or a dry run would read."""
        return tuple(file for file in self.files if file.outcome in LEFT)

    @property
    def summary(self) -> str:
        """What became of the files, in a few words: `126 stored, 9 need attention`."""
        parts = [f"{count} {name}" for name, count in self.outcomes().items() if name in UP_TO_DATE]
        if self.left:
            parts.append(f"{len(self.left)} {'would be read' if self.dry_run else 'left to do'}")
        if self.failed:
            parts.append(f"{len(self.failed)} need{'s' if len(self.failed) == 1 else ''} attention")
        return ", ".join(parts) or "no files"

    @property
    def chunks_per_second(self) -> float:
        """Chunks stored a second of the run."""
        return self.chunks / self.seconds if self.seconds else 0.0

    def outcomes(self) -> dict[str, int]:
        """Number of files by outcome."""
        return dict(Counter(file.outcome for file in self.files))

    def _repr_html_(self) -> str:
        """The report as a notebook shows it."""
        return report_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            **statistics_dict(self),
            "ok": self.ok,
            "outcomes": self.outcomes(),
            "chunks_per_second": self.chunks_per_second,
        }


def node_reports(
    by_node: Counter[str], stats: Iterable[Iterable[NodeStats]], left_out: dict[str, str]
) -> tuple[NodeReport, ...]:
    """What each node did, over all processes that had work for it.

    Args:
        by_node: Chunks by node.
        stats: Last figures of each process.
        left_out: By node, why it was left out at the start.
    """
    merged: dict[str, NodeReport] = {}
    total = by_node.total() or 1
    for process in stats:
        for node in process:
            before = merged.get(node.name)
            errors = Counter(node.errors) + Counter(before.errors if before else {})
            busy = node.busy_seconds + (before.busy_seconds if before else 0.0)
            texts = by_node[node.name]
            note = node.last_error or (before.note if before else "")
            merged[node.name] = NodeReport(
                node.name, texts, texts / total, busy, texts / busy if busy else 0.0, dict(errors), note
            )
    for name, reason in left_out.items():
        if name not in merged:
            merged[name] = NodeReport(name, by_node[name], by_node[name] / total, 0.0, 0.0, {}, reason)
    return tuple(merged.values())
