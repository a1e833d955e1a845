"""Show a run in a terminal: a bar, and a line for each node, on stderr, until the run ends.

Nothing is shown if stderr is no terminal, so output to a file or a pipe does not change.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.console import line
from prefect_ollama.fitted_table import Fitted
from prefect_ollama.stopping import stopping
from prefect_ollama.tasks.monitoring import NodeNow, Snapshot, observed_by, rate_number, state
from prefect_ollama.tasks.reporting import clock

# Nodes with a line of their own.
MAX_NODES = 12

# Columns of the bar.
BAR = 24

# Colours only add to the word beside them, for terminals and readers without colours.
_STYLES = {
    "works": "green",
    "idle": "dim",
    "rests": "yellow",
    "down": "red",
    "left out": "red",
    "unknown": "dim",
}


@contextmanager
def shown_live(*, json: bool) -> Iterator[None]:
    """Show the progress of runs within this context, unless a program reads stderr."""
    if json or not sys.stderr.isatty():
        yield
        return
    screen = RunProgress(Console(stderr=True))
    stopping.at_stop = screen.stop
    with observed_by(screen.show):
        try:
            yield
        finally:
            stopping.at_stop = None
            screen.stop()


class RunProgress(Progress):
    """The lower lines of a terminal: the run's bar and its nodes. Log lines go above them."""

    def __init__(self, console: Console) -> None:
        self._run: Snapshot | None = None  # before `Progress`, which asks for what to show
        # Transient: the report that follows has the same values.
        super().__init__(
            # Each snapshot refreshes the display. Stdout is left alone, because it holds results and may be a file.
            *_columns(),
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
        )
        self._shown = self.add_task("", total=1.0)

    def show(self, run: Snapshot) -> None:
        """Show a run as it is now."""
        # After a signal the terminal belongs to the lines about the end.
        if run.ended or stopping.status is not None:
            self.stop()
            return
        self.take(run)
        self.start()
        self.refresh()

    def take(self, run: Snapshot) -> None:
        """Store the present state of a run for the next refresh."""
        self._run = run
        at = run.progress_state
        self.update(
            self._shown,
            completed=at.part,
            documents=f"{at.documents:,} of {at.of_documents:,}",
            rate=rate_number(run.now),
            left=clock(at.left) if at.left is not None else "unknown",
        )

    def get_renderables(self) -> Iterator[RenderableType]:
        """Yield the bar and the nodes, with a title for each column. In 80 columns the nodes' names stay whole."""
        run = self._run
        if run is None:
            return
        bar = self.make_tasks_table(self.tasks)
        bar.show_header, bar.header_style, bar.padding = True, "bold", (0, 2)
        yield bar
        yield Text()
        yield Fitted(
            ("node", "state", "texts/s", "share", "in flight", "p95", "errors"),
            (_cells(node, run) for node in run.nodes[:MAX_NODES]),
            # The state and the rate stay longest: they show a node that does not work.
            drop=("p95", "in flight", "share"),
            numbers=_NUMBERS,
            one_line=True,
        )
        if (more := len(run.nodes) - MAX_NODES) > 0:
            yield line(f"… and {quantity(more, 'more node')}", "dim")


def _columns() -> tuple[ProgressColumn, ...]:
    def titled(title: str, *, number: bool = False) -> Column:
        return Column(title, no_wrap=True, justify="right" if number else "left")

    return (
        TextColumn("{task.fields[documents]}", table_column=titled("documents"), markup=False),
        TaskProgressColumn(
            "{task.percentage:.0f}%", style="none", markup=False, table_column=titled("done", number=True)
        ),
        BarColumn(BAR, table_column=titled("")),
        TextColumn("{task.fields[rate]}", table_column=titled("texts/s", number=True), markup=False),
        TextColumn("{task.fields[left]}", table_column=titled("time left"), markup=False),
    )


# Columns that are aligned to the right.
_NUMBERS = ("done", "texts/s", "share", "in flight", "p95", "errors")


def _cells(node: NodeNow, run: Snapshot) -> list[Text]:
    how = state(node, run)
    cells = [line(node.name), line(how, _STYLES[how])]
    if not node.state:
        return [*cells, *(Text() for _ in range(5))]
    values = (
        rate_number(node.now),
        f"{node.share:.0%}",
        str(node.in_flight),
        clock(node.p95) if node.p95 else "",
    )
    return [*cells, *map(line, values), line(sum(node.errors.values()) or "", "yellow")]
