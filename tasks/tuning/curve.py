"""The curve of a node: its rate over the requests in flight, a line for each size, with the setting that was chosen."""

from __future__ import annotations

from prefect_ollama.tasks.drawing import FAINT, HUES, INK, Svg, steps
from prefect_ollama.tasks.tuning.point import Point, Tuning

WIDTH, HEIGHT = 640.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 60.0, 120.0, 34.0, 46.0


def draw_curve(name: str, tuning: Tuning) -> Svg:
    """Draw it. The number in flight is not to scale: each that was measured has as much room."""
    numbers = sorted({point.in_flight for point in tuning.points})
    sizes = sorted({point.texts for point in tuning.points})
    most = max(point.texts_per_second for point in tuning.points) or 1.0
    wide = (WIDTH - LEFT - RIGHT) / max(len(numbers) - 1, 1)
    tall = HEIGHT - TOP - BOTTOM

    def place(point: Point) -> tuple[float, float]:
        x = LEFT + wide * numbers.index(point.in_flight)
        return x, TOP + tall * (1 - point.texts_per_second / most / 1.05)

    picture = Svg(WIDTH, HEIGHT, f"Texts a second of {name}, over requests in flight and texts in each")
    picture.text(LEFT, 16, f"{name}: texts/s over requests in flight", size=14)
    for rate in steps(most):
        y = TOP + tall * (1 - rate / most / 1.05)
        picture.line(LEFT, y, WIDTH - RIGHT, y, FAINT, opacity=0.35)
        picture.text(LEFT - 8, y + 4, f"{rate:g}", anchor="end")
    for number, many in enumerate(numbers):
        picture.text(LEFT + wide * number, HEIGHT - BOTTOM + 18, str(many), anchor="middle")
    picture.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "requests in flight", anchor="middle")
    picture.text(WIDTH - RIGHT + 24, TOP + 4, "texts in each")
    for number, size in enumerate(sizes):
        hue = HUES[number % len(HUES)]
        line = [place(point) for point in tuning.points if point.texts == size]
        picture.path(line, stroke=hue, width=2)
        for x, y in line:
            picture.rect(x - 2.5, y - 2.5, 5, 5, hue)
        y = TOP + 22 + 18 * number
        picture.rect(WIDTH - RIGHT + 24, y - 9, 10, 10, hue)
        picture.text(WIDTH - RIGHT + 40, y, str(size))
    x, y = place(tuning.chosen)
    frame = [(x - 7, y - 7), (x + 7, y - 7), (x + 7, y + 7), (x - 7, y + 7), (x - 7, y - 7)]
    picture.path(frame, stroke=INK, width=2)
    return picture
