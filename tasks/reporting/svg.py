"""An SVG picture, drawn from top to bottom.

The picture in an artifact cannot know whether the page is light or dark. So it has no background, and every colour has
enough contrast to both.
"""

from __future__ import annotations

import base64
from html import escape
from typing import Literal

from prefect_ollama.blocks.printable import printable

# Text and axes: contrast of about 4 to white and to Prefect's dark ground.
INK = "#757d89"

# Grid lines; drawn with `opacity`.
FAINT = "#9aa2ad"

TROUBLE = "#d9534f"

# Colours of nodes, in this order; after the last, the first one follows.
HUES = ("#4a86c5", "#d9892b", "#4fa66a", "#a274c4", "#c96a8b", "#2fa3a8", "#a08a3c", "#7f8fa6")


class Svg:
    """A picture that is being drawn. Lengths are in its own units, from the top left corner.

    Args:
        title: Its content, for screen readers.
    """

    def __init__(self, width: float, height: float, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {_n(height)}" role="img" '
            f'font-family="sans-serif" font-size="12"><title>{escape(printable(title))}</title>'
        ]

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        anchor: Literal["start", "middle", "end"] = "start",
        size: float = 12,
        fill: str = INK,
    ) -> None:
        """Write a line of text on the baseline `y`."""
        placed = "" if anchor == "start" else f' text-anchor="{anchor}"'
        sized = "" if size == 12 else f' font-size="{_n(size)}"'
        self._parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}"{placed}{sized} fill="{fill}">{escape(printable(text))}</text>'
        )

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str, *, opacity: float = 1.0
    ) -> None:
        """Fill a rectangle."""
        self._parts.append(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" fill="{fill}"'
            f"{_opacity(opacity)}/>"
        )

    def line(
        self,
        x: float,
        y: float,
        to_x: float,
        to_y: float,
        stroke: str,
        *,
        width: float = 1.0,
        opacity: float = 1.0,
    ) -> None:
        """Draw a straight line."""
        self._parts.append(
            f'<line x1="{_n(x)}" y1="{_n(y)}" x2="{_n(to_x)}" y2="{_n(to_y)}" stroke="{stroke}" '
            f'stroke-width="{_n(width)}"{_opacity(opacity)}/>'
        )

    def path(
        self,
        points: list[tuple[float, float]],
        *,
        fill: str = "none",
        stroke: str = "none",
        width: float = 1.0,
    ) -> None:
        """Draw a line through points, or fill the area inside."""
        x, y = points[0]
        through = [f"M{_n(x)} {_n(y)}"]
        for to_x, to_y in points[1:]:
            # Horizontal and vertical lines are half as long in the text; steps have only these.
            if _n(to_x) != _n(x) and _n(to_y) != _n(y):
                through.append(f"L{_n(to_x)} {_n(to_y)}")
            elif _n(to_x) != _n(x):
                through.append(f"H{_n(to_x)}")
            elif _n(to_y) != _n(y):
                through.append(f"V{_n(to_y)}")
            x, y = to_x, to_y
        lined = "" if stroke == "none" else f' stroke="{stroke}" stroke-width="{_n(width)}"'
        self._parts.append(f'<path d="{"".join(through)}" fill="{fill}"{lined}/>')

    def __str__(self) -> str:
        """Return the text of an SVG file."""
        return "\n".join([*self._parts, "</svg>", ""])

    def uri(self) -> str:
        """Return a `data:` URI, for an image in Markdown or HTML."""
        return "data:image/svg+xml;base64," + base64.b64encode(str(self).encode()).decode()


def _n(value: float) -> str:
    # A tenth of a unit is not visible, and short numbers halve the size of the artifact.
    return f"{value:.1f}".removesuffix(".0")


def _opacity(opacity: float) -> str:
    return "" if opacity == 1.0 else f' opacity="{opacity:g}"'
