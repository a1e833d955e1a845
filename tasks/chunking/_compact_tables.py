"""Tables as lines for embedding: "Total revenue: 2022 17,606; 2021 15,785".

Pipes, dashes and empty cells of Markdown spend tokens and say nothing, and a number without its year answers nothing. A
vector is a mean over all tokens, and numbers mean little to a model: the more numbers a text has, the less its vector
says about the subject of the rows. So the first rows of a part have their numbers, with the names of the columns. The
rows after them have only their names. The search by words finds every number, because it uses the text that is shown.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

# Names of columns that are longer than this together, in characters, stand above the rows once.
_MAX_NAMES_CHARACTERS: Final = 48

# Characters of numbers, with the names of their columns, in a part of a table.
MAX_NUMBERS = 40

# A pipe within a cell is escaped, and does not end it.
_CELL: Final = re.compile(r"(?<!\\)\|")
# The line below the header. It has only these characters, and is written for readers of Markdown alone.
_RULE: Final = re.compile(r"[|\s:-]+")
# Cells with a dash or a dot stand for "no value". They would spend tokens and say nothing.
_NOTHING: Final = re.compile(r"[\W_]*")


@dataclass(frozen=True, slots=True)
class CompactTable:
    """The rows of a table as lines.

    Attributes:
        names: Name of each column except the first; empty if the header has one text for all of them.
        common: Text of the header about all columns, such as units and the period.
        beside: Whether each number has the name of its column; otherwise the names stand once above the rows.
    """

    names: tuple[str, ...]
    common: str
    beside: bool

    @classmethod
    def of(cls, header: Sequence[str]) -> Self:
        """Return the table for the rows of a header, which are Markdown."""
        rows = [cells(line) for line in header if not is_rule(line)]
        width = max(map(len, rows), default=1)
        names = [""] * (width - 1)
        common: list[str] = []
        for row in rows:
            own = row[1:]
            common += row[:1]
            filled = [i for i, cell in enumerate(own) if cell]
            if len(filled) == 1 and len(names) > 1:
                common.append(own[filled[0]])
                continue
            last = row is rows[-1]
            for i in range(len(own)):
                # A cell over several columns stands above one of them, so the nearest one names a number.
                at = i if own[i] or last or not filled else min(filled, key=lambda k: (abs(k - i), k))
                names[i] = f"{names[i]} {own[at]}".strip()
        return cls(
            tuple(names),
            " ".join(dict.fromkeys(each for each in common if each)),
            sum(map(len, names)) <= _MAX_NAMES_CHARACTERS,
        )

    @property
    def heading(self) -> str:
        """The line above the rows; empty if there is none."""
        names = "" if self.beside else "; ".join(name for name in self.names if name)
        return " ".join(part for part in (self.common, names) if part)

    def row(self, line: str, *, numbers: bool = True) -> str:
        """Write a row of Markdown as a line; empty for one without words or figures.

        Args:
            numbers: Whether its numbers are written, with the names of their columns; words always are.
        """
        if is_rule(line):
            return ""
        label, *values = cells(line)
        names = [*self.names, *[""] * len(values)] if self.beside else [""] * len(values)
        said = [
            f"{name} {value}".strip()
            for name, value in zip(names, values, strict=False)
            if not _NOTHING.fullmatch(value) and (numbers or _has_words(value))
        ]
        if not said:
            return label
        return f"{label.rstrip(':')}: {'; '.join(said)}" if label else "; ".join(said)


def _has_words(cell: str) -> bool:
    return any(map(str.isalpha, cell))


def cells(line: str) -> list[str]:
    """Return the cells of a row of Markdown, or a part of one."""
    line = line.strip()
    parts = _CELL.split(line.removeprefix("|"))
    if len(parts) > 1 and not parts[-1].strip():
        parts.pop()
    return [cell.strip().replace("\\|", "|") for cell in parts]


def is_rule(line: str) -> bool:
    """Return whether a line of Markdown is the rule below a header."""
    return "-" in line and _RULE.fullmatch(line) is not None


def compact(header: Sequence[str], rows: Sequence[str]) -> str:
    """Write a table as lines, from the rows of its header and its other rows, both as Markdown."""
    table = CompactTable.of(header)
    lines = [table.heading, *with_numbers([(table.row(row), table.row(row, numbers=False)) for row in rows])]
    return "\n".join(line for line in lines if line)


def with_numbers(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Return the first rows with their numbers, and the others without; each row is given with both texts."""
    room = MAX_NUMBERS
    for with_them, without in rows:
        room -= len(with_them) - len(without)
        yield with_them if room >= 0 else without
