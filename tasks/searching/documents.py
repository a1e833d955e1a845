"""The documents of a table: which of them a name means, their values, and their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect_ollama.blocks.documents import Document
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.home_path import with_home
from prefect_ollama.tasks.planning import file_of, location_of
from prefect_ollama.tasks.searching.filter import day_of, named


def one_document(name: str, manifest: Sequence[Document]) -> Document:
    """Return the one document that a name means.

    Raises:
        ConfigurationError: No document or several documents match; the error names the most similar names, or all
            matches.
    """
    found = named(name, manifest)
    # A guess might be the wrong document, and the user would not notice.
    if len(found) > 1:
        listed = ", ".join(repr(str(file_of(row))) for row in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise ConfigurationError(
            f"{name!r} names {len(found)} documents.",
            state="Nothing was read.",
            remedy=f"Name one of them: {listed}{more}.",
        )
    return found[0]


def described(row: Document) -> dict[str, Any]:
    """Return a document as plain values, with the day that filters go by and the place of its file."""
    return {**asdict(row), "file": location_of(row), "day": day_of(row)}


def file_named(name: str, manifest: Sequence[Document]) -> Path:
    """Return the file that a name means: that of a document of the table, or any other by its path.

    Raises:
        ConfigurationError: There is no such document and no such file.
    """
    try:
        row = one_document(name, manifest)
    except ConfigurationError:
        if (file := with_home(name)).is_file():
            return file
        raise
    return file_of(row)
