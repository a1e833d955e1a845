"""A picture of who was busy when, drawn from what the nodes themselves say of their service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

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
    height = TOP + len(labels) * (LINE + GAP) + 30
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18" font-size="14">{escape(title)}</text>',
        f'<text x="{LEFT}" y="34" fill="#666">each block is one request in service, blank is idle time</text>',
    ]
    for node, label in enumerate(labels):
        top = TOP + node * (LINE + GAP)
        mine = sorted((b for b in busy if b.node == node), key=lambda b: b.begin)
        slots = 1 + max((b.slot for b in mine), default=0)
        share = sum(min(b.end, seconds) - max(b.begin, 0.0) for b in mine) / seconds / slots
        out.append(f'<text x="{LEFT - 8}" y="{top + 15}" text-anchor="end">{escape(label)}</text>')
        out.append(f'<rect x="{LEFT}" y="{top}" width="{seconds * scale:.1f}" height="{LINE}" fill="#eee"/>')
        for number, each in enumerate(mine):
            begin, end = max(each.begin, 0.0), min(each.end, seconds)
            tall = LINE / slots
            out.append(
                f'<rect x="{LEFT + begin * scale:.1f}" y="{top + each.slot * tall:.1f}" '
                f'width="{max(0.3, (end - begin) * scale):.1f}" height="{tall:.1f}" fill="{SHADES[number % 2]}"/>'
            )
        out.append(f'<text x="{WIDTH - RIGHT + 6}" y="{top + 15}">{100 * share:.1f} %</text>')
    bottom = TOP + len(labels) * (LINE + GAP)
    if event is not None:
        x = LEFT + event * scale
        out.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{bottom}" stroke="#c33" stroke-width="2"/>'
        )
    step = max(0.5, round(seconds / 8))
    for tick in range(int(seconds / step) + 1):
        x = LEFT + tick * step * scale
        out.append(
            f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle" fill="#666">{tick * step:g} s</text>'
        )
    return "\n".join([*out, "</svg>", ""])
