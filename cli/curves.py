"""How tuning looks in a terminal: a line for each setting, so long as its rate."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from prefect_ollama.console import line
from prefect_ollama.flows import NodeTuning

# Characters of the highest rate's bar.
BAR = 30


def tuning(rows: Sequence[NodeTuning]) -> RenderableType:
    """What was found of each node, the chosen setting marked. It fits into 80 columns."""
    parts: list[RenderableType] = []
    for row in rows:
        if not row.ok:
            parts.append(line(f"{row.name}: not measured", "bold red"))
        else:
            parts += [line(_found(row), "bold"), _curve(row)]
        if row.note:
            parts.append(line(row.note, "yellow"))
    return Group(*parts)


def _found(row: NodeTuning) -> str:
    kept = "saved" if row.saved else "not saved"
    return (
        f"{row.name}: {row.in_flight} requests of {row.request_texts} texts at once do {row.texts_per_second:.1f} "
        f"texts/s ({kept}; until now at most {row.in_flight_before} of {row.request_texts_before})"
    )


def _curve(row: NodeTuning) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("in flight", "texts", "texts/s"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("p95 s", justify="right", no_wrap=True)
    # Not 0, by which the lengths of the bars are divided.
    most = max(point.texts_per_second for point in row.points) or 1.0
    for point in row.points:
        chosen = point.setting == (row.in_flight, row.request_texts)
        table.add_row(
            str(point.in_flight),
            str(point.texts),
            f"{point.texts_per_second:.1f}",
            "█" * round(BAR * point.texts_per_second / most) + (" ◂" if chosen else ""),
            f"{point.p95:.2f}",
            style="bold" if chosen else "",
        )
    return table
