"""The results of tuning: values for programs, and Markdown with a chart of each node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from prefect_ollama.blocks.nodes import NodeSpec
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.tasks.tuning import Point, Tuning, draw_curve


@dataclass(frozen=True, slots=True)
class NodeTuning:
    """The result of tuning one node.

    Attributes:
        name: Its name.
        url: Its URL.
        in_flight: Best number of requests at once; 0 if it could not be measured.
        request_texts: Best number of texts in a request.
        texts_per_second: Its rate with these numbers.
        p95: 95th percentile of the seconds of such a request.
        in_flight_before: Limit of requests at once before.
        request_texts_before: Limit of texts in a request before.
        points: All measurements.
        saved: Whether the numbers were saved in the node's block.
        note: Why they were not saved, why the node refused more, or why it could not be measured.
    """

    name: str
    url: str
    in_flight: int = 0
    request_texts: int = 0
    texts_per_second: float = 0.0
    p95: float = 0.0
    in_flight_before: int = 0
    request_texts_before: int = 0
    points: tuple[Point, ...] = ()
    saved: bool = False
    note: str = ""

    @classmethod
    def of(cls, node: NodeSpec, tuning: Tuning, *, saved: bool, note: str) -> Self:
        """Return the result of a node that could be measured."""
        chosen = tuning.chosen
        refused = f"More was refused: {tuning.stopped}" if tuning.stopped else ""
        return cls(
            node.name,
            node.url,
            chosen.in_flight,
            chosen.texts,
            chosen.texts_per_second,
            chosen.p95,
            node.max_in_flight,
            node.max_request_texts,
            tuning.points,
            saved,
            " ".join(part for part in (refused, note) if part),
        )

    @classmethod
    def failed(cls, node: NodeSpec, cause: Exception) -> Self:
        """Return the result of a node that could not be measured."""
        return cls(node.name, node.url, note=str(cause))

    @property
    def ok(self) -> bool:
        """Whether it could be measured."""
        return self.in_flight > 0

    @property
    def tuning(self) -> Tuning | None:
        """The measurements, and which of them was chosen."""
        chosen = next(
            (point for point in self.points if point.setting == (self.in_flight, self.request_texts)), None
        )
        return Tuning(self.points, chosen) if chosen is not None else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**asdict(self), "ok": self.ok}


def tuning_markdown(rows: Sequence[NodeTuning], model: str) -> str:
    """Return the page: a list of the nodes, then a chart and the measurements of each."""
    lines = [
        f"Model {escape_markdown(model)}. The setting in the frame is the smallest that reaches 97 % of the best.",
        "",
        *(_listed(row) for row in rows),
    ]
    for row in rows:
        lines += _measured(row)
    return "\n".join(lines) + "\n"


# A list and not a table, because both of Prefect's UIs cut off tables with long names.
def _listed(row: NodeTuning) -> str:
    note = f"\n  - {escape_markdown(row.note)}" if row.note else ""
    if not row.ok:
        return f"- **{escape_markdown(row.name)}**: not measured{note}"
    return (
        f"- **{escape_markdown(row.name)}**: {row.in_flight} requests of {row.request_texts} texts at once, "
        f"{row.texts_per_second:.1f} texts/s, p95 {row.p95:.2f} s\n"
        f"  - {'saved' if row.saved else 'not saved'}; before: at most {row.in_flight_before} requests of "
        f"{row.request_texts_before} texts{note}"
    )


def _measured(row: NodeTuning) -> Iterator[str]:
    if (tuning := row.tuning) is None:
        return
    yield from ("", f"### {escape_markdown(row.name)}", "")
    yield f"![rate over requests in flight]({draw_curve(row.name, tuning).uri()})"
    yield from ("", "| in flight | texts in each | texts/s | p95 s |", "|---|---|---|---|")
    # All of them, not only the best, because a user with another time limit may choose another one.
    for point in tuning.points:
        yield f"| {point.in_flight} | {point.texts} | {point.texts_per_second:.1f} | {point.p95:.2f} |"
