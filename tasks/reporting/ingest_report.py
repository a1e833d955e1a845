"""The report of a run, and the outcome of each file."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from prefect_ollama.blocks.documents import Document
from prefect_ollama.blocks.printable import escape_html
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.blocks.sync_async import Awaitable
from prefect_ollama.tasks.parse import LeftOut
from prefect_ollama.tasks.parsing import DroppedLine
from prefect_ollama.tasks.reporting.ingest_sections import FAILED, short_facts
from prefect_ollama.tasks.reporting.node_report import NodeReport
from prefect_ollama.tasks.reporting.run_statistics import RunStatistics

# The outcome of a file. The last four are of files that a dry run would read, or that a failed run did not reach.
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

# Files that are left to do.
LEFT: frozenset[str] = frozenset({"new", "changed", "tried again", "reread"})

# Files whose document in the table agrees with the file, or is removed with it.
UP_TO_DATE: frozenset[str] = frozenset({"stored", "unchanged", "renamed", "moved", "removed", "kept"})

# Rows of an HTML table at most: a notebook keeps them in its file.
MAX_ROWS = 100


@dataclass(frozen=True, slots=True)
class FileReport:
    """The outcome of one file.

    Attributes:
        path: Path within the source.
        outcome: The outcome.
        pages: Number of pages.
        chunks: Number of its chunks in the table.
        reason: Why it failed or is partial.
        remedy: What to do about it.
        node_seconds: Time that nodes spent on it, in seconds.
        notes: Parts of a stored file that were not read, such as attached files.
        dropped_lines: Lines that parsing left out on purpose, with rule and count. A last line without text counts
            those that are not listed.
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
    def of(cls, row: Document, outcome: Outcome, left_out: LeftOut | None = None) -> Self:
        """Return the report of a manifest row.

        Args:
            left_out: The parts of the file that are not in its chunks.
        """
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
class IngestReport(RunStatistics, Awaitable):
    """The report of a run, with its counters (`RunStatistics`).

    Attributes:
        run_id: Name of the run; `roll_back` takes it.
        source: Name of the source.
        table: Where the table is.
        model: The embedding model.
        dry_run: Whether the run only planned.
        files: The outcome of each file, by path.
        version: Version of the chunk table after the run; 0 if the run did not change it.
        seconds: Time of the run, in seconds.
        efficiency: Part of the nodes' capacity that the run used, 0 to 1, see `tasks.monitoring.efficiency`; None if no
            node embedded anything.
        nodes: The work of each node.
        outdated: Number of documents that stay as an earlier parser or chunker read them; `reread` reads them again.
        notes: Notes about the source: other sources overlap it, it was moved, or it is empty.
        document_prefix: Prompt before each passage that is embedded.
        query_prefix: Prompt before each question.
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
        """The prompts of the table as text; empty if it has none."""
        parts = ((self.document_prefix, "passages"), (self.query_prefix, "questions"))
        return ", ".join(f"{prompt!r} before {what}" for prompt, what in parts if prompt)

    @property
    def ok(self) -> bool:
        """Whether every file is stored whole or was up to date, or the run only planned."""
        return all(file.outcome in UP_TO_DATE for file in self.files) or self.dry_run

    @property
    def failed(self) -> tuple[FileReport, ...]:
        """Files that are not in the table, or not whole."""
        return tuple(file for file in self.files if file.outcome in FAILED)

    @property
    def left(self) -> tuple[FileReport, ...]:
        """Files that the run did not reach, or a dry run would read."""
        return tuple(file for file in self.files if file.outcome in LEFT)

    @property
    def summary(self) -> str:
        """The outcomes in a few words: `126 stored, 9 need attention`."""
        parts = [f"{count} {name}" for name, count in self.outcomes().items() if name in UP_TO_DATE]
        if self.left:
            parts.append(f"{len(self.left)} {'would be read' if self.dry_run else 'left to do'}")
        if self.failed:
            parts.append(quantity(len(self.failed), "needs attention", "need attention"))
        return ", ".join(parts) or "no files"

    @property
    def chunks_per_second(self) -> float:
        """Chunks stored a second of the run."""
        return self.chunks / self.seconds if self.seconds else 0.0

    def outcomes(self) -> dict[str, int]:
        """Return number of files by outcome."""
        return dict(Counter(file.outcome for file in self.files))

    def _repr_html_(self) -> str:
        """Return HTML tables of the totals, the files that need attention, and the nodes, for a notebook."""
        totals = {"run": self.run_id, "source": self.source, "table": self.table, **short_facts(self)}
        totals["files"] = f"{len(self.files)} ({self.summary})"
        parts = [_table(("", ""), list(totals.items()))]
        if self.failed:
            rows = [(file.path, file.outcome, file.reason, file.remedy) for file in self.failed]
            parts.append(_table(("file", "outcome", "reason", "what to do"), rows))
        if self.nodes:
            nodes = [
                (node.name, node.texts, f"{node.share:.0%}", sum(node.errors.values()), node.note)
                for node in self.nodes
            ]
            parts.append(_table(("node", "chunks", "share", "errors", "note"), nodes))
        return "\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        plain = asdict(self)
        counters = {name: plain.pop(name) for name in self.counters()}
        return {
            **plain,
            **counters,
            "ok": self.ok,
            "outcomes": self.outcomes(),
            "chunks_per_second": self.chunks_per_second,
        }


def _table(names: Sequence[str], rows: Sequence[Iterable[object]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in names)
    cells = "".join(_row(row) for row in rows[:MAX_ROWS])
    more = f"<p>… and {len(rows) - MAX_ROWS} more</p>" if len(rows) > MAX_ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>{more}"


def _row(row: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<td>{escape_html(cell)}</td>' for cell in row)}</tr>"
