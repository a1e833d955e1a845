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

from prefect_ollama.console import line
from prefect_ollama.fitted import Fitted
from prefect_ollama.stopping import stopping
from prefect_ollama.tasks.monitoring import NodeNow, Snapshot, observed_by, state
from prefect_ollama.tasks.reporting import clock

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
    stopping.at_stop = screen.close
    with observed_by(screen.show):
        try:
            yield
        finally:
            stopping.at_stop = None
            screen.close()


class _Screen:
    """The lower lines of a terminal; log lines go above them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def show(self, run: Snapshot) -> None:
        """Show a run as it is now."""
        if run.ended or stopping.status is not None:
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
    """Return the bar and the nodes, with a title for each column. In 80 columns the nodes' names stay whole."""
    at = run.progress_state
    head = Table.grid(padding=(0, 2))
    for name in ("documents", "done", "", "texts/s", "time left"):
        head.add_column(name, no_wrap=True, justify="right" if name in _NUMBERS else "left")
    head.add_row(*(Text(column.header, style="bold") for column in head.columns))  # type: ignore[arg-type]
    head.add_row(
        Text(f"{at.documents:,} of {at.of_documents:,}"),
        Text(f"{at.part:.0%}"),
        ProgressBar(total=1.0, completed=at.part, width=BAR),
        Text(f"{run.now:,.0f}"),
        Text(clock(at.left) if at.left is not None else "unknown"),
    )
    nodes = Fitted(
        ("node", "state", "texts/s", "share", "in flight", "p95", "errors"),
        (_cells(node, run) for node in run.nodes[:MOST_NODES]),
        drop=("p95", "in flight", "share"),
        numbers=_NUMBERS,
        one_line=True,
    )
    more = len(run.nodes) - MOST_NODES
    return Group(head, Text(), nodes, *([line(f"… and {more} more nodes", "dim")] if more > 0 else []))


_NUMBERS = ("done", "texts/s", "share", "in flight", "p95", "errors")


def _cells(node: NodeNow, run: Snapshot) -> list[Text]:
    how = state(node, run)
    cells = [line(node.name), line(how, _STYLES[how])]
    if not node.breaker:
        return [*cells, *(Text() for _ in range(5))]
    told = (
        f"{node.now:,.0f}",
        f"{node.share:.0%}",
        str(node.in_flight),
        clock(node.p95) if node.p95 else "",
    )
    return [*cells, *map(line, told), line(node.errors or "", "yellow")]
