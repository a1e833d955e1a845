"""An SVG picture, drawn from top to bottom.

The picture in an artifact cannot know whether the page is light or dark. So a picture has no background, and every
colour has enough contrast to both.
"""

import base64
from typing import Literal
from xml.etree import ElementTree

from prefect_ollama.blocks.printable import printable

# Text and axes: contrast of about 4 to white and to Prefect's dark ground.
INK = "#757d89"

# Grid lines; drawn with `opacity`.
FAINT = "#9aa2ad"

TROUBLE = "#d9534f"

# Colours of nodes, in this order; after the last, the first one follows.
HUES = ("#4a86c5", "#d9892b", "#4fa66a", "#a274c4", "#c96a8b", "#2fa3a8", "#a08a3c", "#7f8fa6")


# Values that an attribute has by itself, or from the root. They are left out, because an artifact should be short.
_BY_ITSELF = {"text_anchor": "start", "font_size": 12, "stroke": "none", "stroke_width": 1, "opacity": "1"}


class Svg:
    """A picture that is being drawn. Lengths are in its own units, from the top left corner.

    Args:
        title: Its content, for screen readers.
    """

    def __init__(self, width: float, height: float, title: str) -> None:
        about = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {_n(width)} {_n(height)}"}
        style = {"role": "img", "font-family": "sans-serif", "font-size": "12"}
        self._root = ElementTree.Element("svg", {**about, **style})
        self._add("title").text = printable(title)

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
        self._add("text", x=x, y=y, text_anchor=anchor, font_size=size, fill=fill).text = printable(text)

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str, *, opacity: float = 1.0
    ) -> None:
        """Fill a rectangle."""
        self._add("rect", x=x, y=y, width=width, height=height, fill=fill, opacity=f"{opacity:g}")

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
        ends = {"x1": x, "y1": y, "x2": to_x, "y2": to_y}
        self._add("line", **ends, stroke=stroke, stroke_width=width, opacity=f"{opacity:g}")

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
        self._add("path", d="".join(through), fill=fill, stroke=stroke, stroke_width=width)

    def _add(self, tag: str, **attributes: str | float) -> ElementTree.Element:
        given = {
            name.replace("_", "-"): value if isinstance(value, str) else _n(value)
            for name, value in attributes.items()
            if value != _BY_ITSELF.get(name)
        }
        return ElementTree.SubElement(self._root, tag, given)

    def __str__(self) -> str:
        """Return the text of an SVG file."""
        return ElementTree.tostring(self._root, encoding="unicode") + "\n"

    def uri(self) -> str:
        """Return a `data:` URI, for an image in Markdown or HTML."""
        return "data:image/svg+xml;base64," + base64.b64encode(str(self).encode()).decode()


def _n(value: float) -> str:
    # A tenth of a unit is not visible, and short numbers halve the size of the artifact.
    return f"{value:.1f}".removesuffix(".0")
