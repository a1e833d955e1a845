"""The sections of reports, which Prefect shows as Markdown and the terminal through Rich.

Guarantees: a section has all its items, and the number of them that a page lists. No text is escaped or coloured yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a section.

    Attributes:
        name: Name of the file or node; empty if the text has it.
        below: Lines below it.
        cells: Cells of a table after the name, if the section has columns.
    """

    text: str
    name: str = ""
    below: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()

    @property
    def separator(self) -> str:
        """The text between name and text."""
        return "" if not self.name else " " if self.text.startswith("(") else ": "


@dataclass(frozen=True, slots=True)
class Section:
    """Some items under a title.

    Attributes:
        limit: How many of them a page shows.
        note: Text before them.
        rest: Where to find the items that are not shown.
        columns: Titles of a table of the items, first that of the name; empty if they are always a list.
        drop: Columns to leave out, in this order, if the terminal is too narrow.
        spelled: Whether a list has a line for each cell, because the text does not have its content.
        trouble: Whether the user has to do something about the items.
        page_only: Whether a terminal leaves the section out.
        picture: Markdown with a chart before them, which a terminal leaves out.
    """

    title: str
    items: Sequence[Item]
    limit: int
    note: str = ""
    rest: str = ""
    columns: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    spelled: bool = False
    trouble: bool = False
    page_only: bool = False
    picture: str = ""

    def more(self, shown: int) -> str:
        """Return the line about the items that are not shown; empty if all are."""
        left = len(self.items) - shown
        return f"… and {left} more. {self.rest}".strip() if left > 0 else ""
