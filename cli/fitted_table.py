"""Tables that fit a terminal: a narrow one gets fewer columns, so that names stay whole."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from prefect_ollama.console import line

# Columns of a terminal that is wide enough for any table.
UNLIMITED_COLUMNS = 10_000


class Fitted:
    """A table that leaves out other columns to show its first column, a name, whole.

    Args:
        names: Titles of the columns.
        rows: Their cells.
        drop: Titles of the columns to leave out, the first ones first.
        numbers: Titles of the columns that hold numbers.
        one_line: Whether a name that still does not fit is cut; otherwise it is folded.
    """

    def __init__(
        self,
        names: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        drop: Sequence[str] = (),
        numbers: Iterable[str] = (),
        one_line: bool = False,
    ) -> None:
        self._names, self._drop, self._numbers = names, drop, frozenset(numbers)
        self._rows = [[each if isinstance(each, Text) else line(each) for each in row] for row in rows]
        self._one_line = one_line

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table with as many columns as fit."""
        # Measured without a limit: with a limit Rich would fold names, and report that the table fits.
        wide = options.update(max_width=UNLIMITED_COLUMNS)
        table = self._table(0)
        for count in range(1, len(self._drop) + 1):
            if Measurement.get(console, wide, table).maximum <= options.max_width:
                break
            table = self._table(count)
        yield table

    def _table(self, dropped: int) -> Table:
        # The first column names the row, so it is never dropped.
        kept = [index for index, name in enumerate(self._names) if name not in self._drop[:dropped]]
        table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
        for index in kept:
            name = self._names[index]
            table.add_column(
                name,
                justify="right" if name in self._numbers else "left",
                no_wrap=index > 0 or self._one_line,
                # A title that Rich cuts says nothing; a column that does not fit is dropped as a whole.
                min_width=len(name) if index else None,
                overflow="ellipsis" if self._one_line else "fold",
            )
        for row in self._rows:
            table.add_row(*(row[index] for index in kept))
        return table
