"""A picture of who was busy when, drawn from what the nodes themselves say of their service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefect_ollama.tasks.reporting import FAINT, TROUBLE, Svg, clock, steps

WIDTH, LEFT, RIGHT, TOP, LINE, GAP = 900, 150, 60, 44, 22, 8
SHADES = ("#3b6ea5", "#6c9bcb")


@dataclass(frozen=True, slots=True)
class Busy:
    """One request in a slot of a node; seconds since the start."""

    node: int
    slot: int
    begin: float
    end: float
    texts: int


def draw(title: str, labels: Sequence[str], busy: Sequence[Busy], seconds: float, event: float | None) -> str:
    """An SVG with a line for each node; the shade changes with each request, gaps are idle time."""
    scale = (WIDTH - LEFT - RIGHT) / seconds
    bottom = TOP + len(labels) * (LINE + GAP)
    out = Svg(WIDTH, bottom + 30, title)
    out.text(LEFT, 18, title, size=14)
    out.text(LEFT, 34, "each block is one request in service, blank is idle time")
    for node, label in enumerate(labels):
        top = TOP + node * (LINE + GAP)
        mine = sorted((b for b in busy if b.node == node), key=lambda b: b.begin)
        slots = 1 + max((b.slot for b in mine), default=0)
        share = sum(min(b.end, seconds) - max(b.begin, 0.0) for b in mine) / seconds / slots
        out.text(LEFT - 8, top + 15, label, anchor="end")
        out.rect(LEFT, top, seconds * scale, LINE, FAINT, opacity=0.2)
        for number, each in enumerate(mine):
            begin, end = max(each.begin, 0.0), min(each.end, seconds)
            tall = LINE / slots
            width = max(0.3, (end - begin) * scale)
            out.rect(LEFT + begin * scale, top + each.slot * tall, width, tall, SHADES[number % 2])
        out.text(WIDTH - RIGHT + 6, top + 15, f"{100 * share:.1f} %")
    if event is not None:
        out.line(LEFT + event * scale, TOP - 4, LEFT + event * scale, bottom, TROUBLE, width=2)
    for tick in steps(seconds, about=8, time=True):
        out.text(LEFT + tick * scale, bottom + 14, clock(tick), anchor="middle")
    return str(out)
