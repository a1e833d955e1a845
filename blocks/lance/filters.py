"""Filters for LanceDB, which takes SQL text, and groups of documents for one filter or one commit.

Every value that enters a filter goes through `quote`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from prefect_ollama.blocks.documents import Document


def quote(value: str) -> str:
    """Return a value, with any characters, as an SQL string literal."""
    # In SQL, two quotes within a literal stand for one. SQL string literals have no other escape.
    return "'" + value.replace("'", "''") + "'"


def equals(column: str, value: str) -> str:
    """Return a filter for rows whose column is this value."""
    return f"{column} = {quote(value)}"


def one_of(column: str, values: Iterable[str]) -> str:
    """Return a filter for rows whose column is one of these values; without values it matches no row."""
    listed = ", ".join(quote(value) for value in values)
    return f"{column} IN ({listed})" if listed else "false"


def glob(column: str, pattern: str) -> str:
    """Return a filter for rows whose column matches a pattern of `*`, `**`, `?` and plain characters.

    `*` and `?` stay within one folder, `**` crosses folders.
    """
    parts = re.split(r"(\*\*/?|\*|\?)", pattern)
    rules = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    regex = "".join(rules.get(part) or _literal(part) for part in parts)
    return f"regexp_like({column}, {quote(f'(?s)^{regex}$')})"


def _literal(text: str) -> str:
    # re.escape would escape characters that Rust's regex refuses to see escaped.
    return re.sub(r"([\\.+*?()|\[\]{}^$#&\-~])", r"\\\1", text)


def both(*conditions: str) -> str:
    """Return the conjunction of the conditions that are not empty."""
    return " AND ".join(f"({condition})" for condition in conditions if condition)


# Ids in one SQL filter, so that its length is bounded.
IDS_A_FILTER: Final = 1_000

# Rows that one commit copies, moves or restores, about: 10,000 vectors of 768 floats are 30 MB of memory. Many small
# commits make the table slow (docs/architecture.md, "Choices and reasons").
ROWS_A_COMMIT: Final = 10_000


def groups(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the values in groups that a filter can list."""
    for start in range(0, len(values), IDS_A_FILTER):
        yield values[start : start + IDS_A_FILTER]


def by_size(doc_ids: Iterable[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Group documents so that each group has some thousands of chunks."""
    group: list[str] = []
    total = 0
    for doc_id in doc_ids:
        group.append(doc_id)
        total += max(1, sizes.get(doc_id, 0))
        if total >= ROWS_A_COMMIT:
            yield group
            group, total = [], 0
    if group:
        yield group


def move_groups(moves: Mapping[str, Document], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Group moves by size. Moves that take each other's ids are one group, or the first would overwrite the next."""
    targets = {new.doc_id for old, new in moves.items() if new.doc_id != old}
    chained = [
        old for old, new in moves.items() if old in targets or (new.doc_id != old and new.doc_id in moves)
    ]
    if chained:
        yield chained
    yield from by_size([old for old in moves if old not in set(chained)], sizes)
