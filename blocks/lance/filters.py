"""Filters for LanceDB, which takes SQL text: every value that enters one goes through `quote`."""

from __future__ import annotations

import re
from collections.abc import Iterable


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
