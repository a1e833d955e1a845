"""What tuning found of the nodes, for programs and, as a page with a picture of each, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from prefect_ollama.blocks.nodes import NodeSpec
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.tasks.tuning import Point, Tuning, draw_curve


@dataclass(frozen=True, slots=True)
class NodeTuning:
    """What was found of one node.

    Attributes:
        name: Its name.
        url: Its address.
        in_flight: Requests at once that it needs, 0 where it could not be measured.
        request_texts: Texts in each of them.
        texts_per_second: Its rate with these.
        p95: Seconds in which 95 of 100 such requests are answered.
        in_flight_before: Requests at once that it was allowed until now.
        request_texts_before: Texts in a request until now.
        points: Everything that was measured.
        saved: Whether it stands in the node's block now.
        note: Why it does not, what the node said to more, or why it could not be measured.
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
        """What was found of a node that could be measured."""
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
        """A node that could not be measured."""
        return cls(node.name, node.url, note=str(cause))

    @property
    def ok(self) -> bool:
        """Whether it could be measured."""
        return self.in_flight > 0

    @property
    def tuning(self) -> Tuning | None:
        """What was measured, and which of it was chosen."""
        chosen = next(
            (point for point in self.points if point.setting == (self.in_flight, self.request_texts)), None
        )
        return Tuning(self.points, chosen) if chosen is not None else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "ok": self.ok}


def tuning_markdown(rows: Sequence[NodeTuning], model: str) -> str:
    """Return the page: a list of the nodes, then a picture of each and all that was measured of it."""
    lines = [
        f"Model {escape_markdown(model)}. The setting in the frame is the smallest that reaches 97 % of the best.",
        "",
        *(_listed(row) for row in rows),
    ]
    for row in rows:
        lines += _measured(row)
    return "\n".join(lines) + "\n"


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
    for point in tuning.points:
        yield f"| {point.in_flight} | {point.texts} | {point.texts_per_second:.1f} | {point.p95:.2f} |"
