"""The chart of a run: texts a second by node, and the times in which a node did not work."""

from prefect_ollama.tasks.monitoring import Timeline
from prefect_ollama.tasks.reporting.chart_scale import clock, steps
from prefect_ollama.tasks.reporting.svg import FAINT, HUES, INK, TROUBLE, Svg

# Width of the picture, its margins, and the height of the curves, in units of the picture.
WIDTH, LEFT, RIGHT, TOP, TALL = 900.0, 56.0, 16.0, 30.0, 200.0
# Height of the line of a node that did not work, and of a line of the legend.
ROW, KEY = 26.0, 18.0

# Nodes with a colour of their own; the rest share one.
MAX_NAMED = 7

# Grey, because it stands for many nodes and not for one more.
OTHERS = "#8b929c"


def draw_timeline(timeline: Timeline) -> Svg | None:
    """Draw the throughput over time, stacked by node, with shares, and a line for each node that did not work.

    Returns:
        The picture; None if no node embedded anything.
    """
    names = timeline.nodes
    if not names:
        return None
    layers = {name: timeline.rates(name) for name in names[:MAX_NAMED]}
    totals = {name: timeline.total(name) for name in layers}
    if rest := names[MAX_NAMED:]:
        rates = [timeline.rates(name) for name in rest]
        layers[f"{len(rest)} others"] = [sum(column) for column in zip(*rates, strict=True)]
        totals[f"{len(rest)} others"] = sum(timeline.total(name) for name in rest)
    colours = {name: HUES[index] for index, name in enumerate(names[:MAX_NAMED])}
    troubled = timeline.troubled
    below = TOP + TALL + 28 + ROW * len(troubled)
    out = Svg(WIDTH, below + KEY * len(layers) + 8, "Texts a second over the run, by node")
    # The scale of the rate is that of the highest column of all nodes together.
    roof = [sum(column) for column in zip(*layers.values(), strict=True)]
    most = max(roof)
    across = (WIDTH - LEFT - RIGHT) / timeline.end
    up = TALL / most
    bottom = TOP + TALL
    out.text(LEFT, 16, "texts/s", size=12)
    for mark in steps(most, about=4):
        out.line(LEFT, bottom - mark * up, WIDTH - RIGHT, bottom - mark * up, FAINT, opacity=0.35)
        out.text(LEFT - 6, bottom - mark * up + 4, f"{mark:g}", anchor="end")
    for mark in steps(timeline.end, about=8, time=True):
        out.text(LEFT + mark * across, bottom + 16, clock(mark), anchor="middle")
    for name in reversed(layers):  # each goes down to the axis, and the next one over it
        edge = [(LEFT, bottom), *_steps(roof, timeline, across, up), (WIDTH - RIGHT, bottom)]
        out.path(edge, fill=colours.get(name, OTHERS))
        roof = [high - rate for high, rate in zip(roof, layers[name], strict=True)]
    out.line(LEFT, bottom, WIDTH - RIGHT, bottom, INK)
    for number, name in enumerate(troubled):
        top = bottom + 24 + ROW * number
        out.text(LEFT, top + 10, f"{name} did not work", size=11)
        # At least one and a half units wide, so that a short outage in a run of days is visible.
        for begin, end in timeline.trouble(name):
            out.rect(LEFT + begin * across, top + 14, max((end - begin) * across, 1.5), 8, TROUBLE)
    whole = sum(totals.values())
    for number, (name, total) in enumerate(totals.items()):
        top = below + KEY * number
        out.rect(LEFT, top + 2, 12, 12, colours.get(name, OTHERS))
        out.text(LEFT + 20, top + 12, f"{name}: {total / whole:.0%}")
    return out


def _steps(rates: list[float], timeline: Timeline, across: float, up: float) -> list[tuple[float, float]]:
    # The last column ends with the run, and so may be narrower.
    points: list[tuple[float, float]] = []
    for column, rate in enumerate(rates):
        begin, end = column * timeline.width, min((column + 1) * timeline.width, timeline.end)
        points += [(LEFT + x * across, TOP + TALL - rate * up) for x in (begin, end)]
    return points
