"""The part of each node in the report of a run."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from prefect_ollama.tasks.dispatch import NodeStats, stats_by_node

# Causes of failure that the report lists for each node, so that its length is bounded.
MAX_CAUSES = 20


@dataclass(frozen=True, slots=True)
class NodeReport:
    """The work of one node.

    Attributes:
        name: Its name.
        texts: Number of chunks whose vector came from it.
        share: Part of all chunks that nodes embedded, 0 to 1.
        busy_seconds: Time in which it had work, in seconds.
        texts_per_second: Mean rate while it had work.
        errors: Number of errors by cause.
        note: Why it was left out, or its last error.
    """

    name: str
    texts: int
    share: float
    busy_seconds: float
    texts_per_second: float
    errors: dict[str, int]
    note: str = ""

    def error_lines(self) -> list[str]:
        """Return a line for each cause of failure with its count, the most frequent first, and why it was left out.

        The line of the last error also has its remedy.
        """
        lines: list[str] = []
        last = self.note
        for cause, count in Counter(self.errors).most_common(MAX_CAUSES):
            shown = self.note if self.note.startswith(cause) else cause
            # The note is one of the causes with its remedy; it must not stand there twice.
            if shown is self.note:
                last = ""
            lines.append(f"{count} × {shown.removeprefix(f'Node {self.name!r}: ')}")
        if len(self.errors) > MAX_CAUSES:
            rest = Counter(self.errors).most_common()[MAX_CAUSES:]
            lines.append(f"{sum(count for _, count in rest)} × {len(rest)} other causes")
        return [*lines, last] if last else lines


def node_reports(
    by_node: Counter[str], stats: Iterable[Iterable[NodeStats]], left_out: dict[str, str]
) -> tuple[NodeReport, ...]:
    """Return the work of each node, over all processes that used it.

    Args:
        by_node: Number of chunks by node.
        stats: Last statistics of each process.
        left_out: Why nodes were left out at the start, by name.
    """
    # 1, so that the shares are 0 if no node embedded anything.
    total = by_node.total() or 1
    found: dict[str, NodeReport] = {}
    for name, node in stats_by_node(stats).items():
        # From the stored bundles and not from the statistics, which also count vectors that were not used.
        texts, busy = by_node[name], node.busy_seconds
        rate = texts / busy if busy else 0.0
        found[name] = NodeReport(name, texts, texts / total, busy, rate, dict(node.errors), node.last_error)
    # A node that was left out at the start may have joined later, and then has statistics.
    for name, reason in left_out.items():
        found.setdefault(name, NodeReport(name, by_node[name], by_node[name] / total, 0.0, 0.0, {}, reason))
    return tuple(found.values())
