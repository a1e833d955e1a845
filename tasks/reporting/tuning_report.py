"""The results of tuning: values for programs, and the sections that Prefect and the terminal show."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from prefect_ollama.blocks.nodes import NodeSpec
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.reporting.sections import Item, Section
from prefect_ollama.tasks.tuning import Point, Tuning, draw_curve

# Characters of the bar of the highest rate.
BAR = 30


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
        """Whether the node could be measured."""
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


def tuning_sections(rows: Sequence[NodeTuning]) -> Iterator[Section]:
    """Yield the nodes that could not be measured, the settings of the measured nodes, and all measurements by node."""
    failed = [Item("not measured", row.name, (row.note,)) for row in rows if not row.ok]
    if failed:
        yield Section("Need attention", failed, len(failed), trouble=True)
    settings = [_setting(row) for row in rows if row.ok]
    if settings:
        yield Section("Settings", settings, len(settings))
    for row in rows:
        if (tuning := row.tuning) is not None:
            yield _measurements(row.name, tuning)


def _setting(row: NodeTuning) -> Item:
    kept = "saved" if row.saved else "not saved"
    before = _words(row.in_flight_before, row.request_texts_before)
    return Item(
        f"{_words(row.in_flight, row.request_texts)} at once, {row.texts_per_second:.1f} texts/s, p95 {row.p95:.2f} s",
        row.name,
        tuple(filter(None, (f"{kept}; before: at most {before}", row.note))),
    )


def _measurements(name: str, tuning: Tuning) -> Section:
    # Not 0, by which the lengths of the bars are divided.
    most = max(point.texts_per_second for point in tuning.points) or 1.0
    items = []
    # All of them, not only the best, because a user with another time limit may choose another one.
    for point in tuning.points:
        rate, p95 = f"{point.texts_per_second:.1f}", f"{point.p95:.2f}"
        mark = " ◂" if point == tuning.chosen else ""
        bar = "█" * round(BAR * point.texts_per_second / most)
        setting = _words(point.in_flight, point.texts)
        items.append(Item(f"{rate} texts/s, p95 {p95} s{mark}", setting, cells=(rate, p95, bar + mark)))
    chart = draw_curve(name, tuning).uri()
    return Section(
        name,
        items,
        len(items),
        picture=f"![rate over requests in flight]({chart})",
        # A terminal shows no title above a table, so the first column has it.
        columns=(name, "texts/s", "p95 s", "rate"),
        drop=("rate",),
    )


def _words(in_flight: int, texts: int) -> str:
    return f"{quantity(in_flight, 'request')} of {quantity(texts, 'text')}"
