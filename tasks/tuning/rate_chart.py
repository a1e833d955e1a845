"""The chart of a node: its rate over requests in flight and over texts in each; the chosen setting is framed."""

from collections.abc import Callable

from prefect_ollama.tasks.reporting import FAINT, HUES, INK, Svg, steps
from prefect_ollama.tasks.tuning.measured_settings import Point, Tuning

# Size of the chart in units of SVG; the UI scales it to the width of its column.
WIDTH, HEIGHT = 760.0, 300.0
# Margins for the labels of the axes, and the gap between the two halves of the chart.
LEFT, GAP, RIGHT, TOP, BOTTOM = 56.0, 100.0, 84.0, 40.0, 46.0

# Height above the highest rate, as part of it.
ROOM = 1.06


def draw_curve(name: str, tuning: Tuning) -> Svg:
    """Return the chart: two halves with one scale of the rate. Settings are not to scale, but have equal distances."""
    most = max(point.texts_per_second for point in tuning.points) or 1.0
    wide = (WIDTH - LEFT - GAP - RIGHT) / 2
    picture = Svg(WIDTH, HEIGHT, f"Texts a second of {name}, over requests in flight and over texts in each")
    picture.text(LEFT, 16, f"{name}: texts/s", size=14)
    for rate in steps(most):
        y = _height(rate, most)
        for left in (LEFT, LEFT + wide + GAP):
            picture.line(left, y, left + wide, y, FAINT, opacity=0.35)
        picture.text(LEFT - 8, y + 4, f"{rate:g}", anchor="end")

    def draw_half(
        left: float, title: str, along: Callable[[Point], int], other: Callable[[Point], int], name: str
    ) -> None:
        """Draw the rate over one number from `left` on, with a line for each value of the other."""
        points = tuning.points
        values = sorted({along(point) for point in points})
        step = wide / max(len(values) - 1, 1)

        def place(point: Point) -> tuple[float, float]:
            return left + step * values.index(along(point)), _height(point.texts_per_second, most)

        for number, value in enumerate(values):
            picture.text(left + step * number, HEIGHT - BOTTOM + 18, str(value), anchor="middle")
        picture.text(left + wide / 2, HEIGHT - 10, title, anchor="middle")
        free = TOP
        for number, value in enumerate(sorted({other(point) for point in points})):
            line = [place(point) for point in points if other(point) == value]
            # A value with one measurement has no line, so it needs no colour and no label of its own.
            hue = HUES[number % len(HUES)] if len(line) > 1 else FAINT
            for x, y in line:
                picture.rect(x - 2.5, y - 2.5, 5, 5, hue)
            if len(line) > 1:
                picture.path(line, stroke=hue, width=2)
                picture.text(left + wide + 12, free, name.format(value), fill=hue)
                free += 16
        x, y = place(tuning.chosen)
        frame = [(x - 7, y - 7), (x + 7, y - 7), (x + 7, y + 7), (x - 7, y + 7), (x - 7, y - 7)]
        picture.path(frame, stroke=INK, width=2)

    draw_half(LEFT, "requests in flight", lambda p: p.in_flight, lambda p: p.texts, "of {}")
    draw_half(LEFT + wide + GAP, "texts in each", lambda p: p.texts, lambda p: p.in_flight, "{} in flight")
    return picture


def _height(rate: float, most: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - rate / most / ROOM)
