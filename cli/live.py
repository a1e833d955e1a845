"""A run in a terminal while it lasts: a bar and a line for each node, on stderr, gone when the run is over.

Only where stderr is a terminal: what goes into a file or a pipe is the same with and without it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from prefect_ollama.tasks.drawing import clock
from prefect_ollama.tasks.watching import NodeNow, Snapshot, observed_by
from prefect_ollama.tasks.watching.words import state

MOST_NODES = 12
"""Nodes with a line of their own."""

BAR = 24
"""Columns of the bar."""

_STYLES = {"works": "green", "idle": "dim", "rests": "yellow", "down": "red", "unknown": "dim"}


@contextmanager
def shown_live(*, json: bool) -> Iterator[None]:
    """Show the runs of this context while they last.

    Args:
        json: Whether a program reads what is printed; then nothing is shown.
    """
    if json or not sys.stderr.isatty():
        yield
        return
    screen = _Screen(Console(stderr=True))
    with observed_by(screen.show):
        try:
            yield
        finally:
            screen.close()


class _Screen:
    """The lower lines of a terminal; log lines go above them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def show(self, run: Snapshot) -> None:
        """Show a run as it is now."""
        if run.ended:
            self.close()
            return
        if self._live is None:
            self._live = Live(
                console=self._console, auto_refresh=False, transient=True, redirect_stdout=False
            )
            self._live.start()
        self._live.update(figures(run), refresh=True)

    def close(self) -> None:
        """Give the terminal back."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()


def figures(run: Snapshot) -> RenderableType:
    """The bar and the nodes. It fits into 80 columns."""
    at = run.standing
    left = "" if at.left is None else f"{clock(at.left)} left"
    head = Table.grid(padding=(0, 1))
    head.add_row(
        Text(f"{at.documents:,} of {at.of_documents:,} documents"),
        ProgressBar(total=1.0, completed=at.part, width=BAR),
        Text(f"{at.part:.0%}"),
        Text(f"{run.now:,.0f} texts/s"),
        Text(left),
    )
    nodes = Table.grid(padding=(0, 2))
    nodes.add_column(max_width=26, no_wrap=True, overflow="ellipsis")
    nodes.add_column()
    for _ in range(5):
        nodes.add_column(justify="right", no_wrap=True)
    for node in run.nodes[:MOST_NODES]:
        nodes.add_row(*_cells(node, run))
    more = len(run.nodes) - MOST_NODES
    return Group(head, nodes, *([Text(f"… and {more} more nodes", style="dim")] if more > 0 else []))


def _cells(node: NodeNow, run: Snapshot) -> list[Text]:
    how = state(node, run)
    cells = [Text(node.name), Text(how, style=_STYLES[how])]
    if not node.breaker:
        return cells
    errors = f"{node.errors} error" + ("" if node.errors == 1 else "s") if node.errors else ""
    told = (
        f"{node.share:.0%}",
        f"{node.now:,.0f}/s",
        f"{node.in_flight} under way",
        f"p95 {clock(node.p95)}" if node.p95 else "",
    )
    return [*cells, *(Text(each) for each in told), Text(errors, style="yellow")]
