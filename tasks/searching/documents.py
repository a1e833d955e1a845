"""The documents of a table: which a name means, and their files as pictures of pages and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect_ollama.blocks.documents import Document, Hit
from prefect_ollama.blocks.errors import ConfigurationError, DocumentError
from prefect_ollama.tasks.parsing import ParseOptions, Parsers
from prefect_ollama.tasks.planning import file_of, location
from prefect_ollama.tasks.searching.filter import day_of, named

# Dots per inch of a page's picture: a page of A4 has 910 by 1,286 of them.
DPI = 110


@dataclass(frozen=True, slots=True)
class PagePicture:
    """A page of a hit as a picture.

    Attributes:
        hit: The hit, from 0, in the order given.
        page: Counted from 1.
        png: The picture, empty where it could not be drawn.
        note: Why not, else empty.
    """

    hit: int
    page: int
    png: bytes = b""
    note: str = ""


def one_document(name: str, manifest: Sequence[Document]) -> Document:
    """Return the one document that a name means.

    Raises:
        ConfigurationError: There is none, or several; the nearest or all of them are named.
    """
    found = named(name, manifest)
    # A guess might be the wrong document, and nobody would notice.
    if len(found) > 1:
        listed = ", ".join(repr(str(file_of(row.source, row.path))) for row in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise ConfigurationError(
            f"{name!r} names {len(found)} documents.",
            state="Nothing was read.",
            remedy=f"Name one of them: {listed}{more}.",
        )
    return found[0]


def described(row: Document) -> dict[str, Any]:
    """Return a document as plain values, with the day that filters go by and the place of its file."""
    return {**asdict(row), "file": location(row.source, row.path), "day": day_of(row)}


def page_pictures(
    hits: Sequence[Hit], options: ParseOptions | None = None, *, dpi: int = DPI
) -> Iterator[PagePicture]:
    """Yield the pages of hits, with the passages marked.

    A page that cannot be drawn, because its file is gone for example, has a note with the reason.

    Args:
        options: Limits and passwords for their files.
        dpi: Resolution.
    """
    # One parser for all hits of a format: its process takes half a second to start.
    with closing(Parsers()) as parsers:
        for number, hit in enumerate(hits):
            # Hits of earlier versions have no regions.
            pages = sorted({region.page for region in hit.regions}) or [hit.page_from]
            for page in pages:
                try:
                    file = file_of(hit.source, hit.path)
                    png = parsers.parser_of(file).picture(file, page, hit.regions, options, dpi=dpi)
                    yield PagePicture(number, page, png)
                except DocumentError as error:
                    yield PagePicture(number, page, note=str(error))


def file_named(name: str, manifest: Sequence[Document]) -> Path:
    """Return the file that a name means: that of a document of the table, or any other by its path.

    Raises:
        ConfigurationError: There is no such document and no such file.
    """
    try:
        row = one_document(name, manifest)
    except ConfigurationError:
        if Path(name).expanduser().is_file():
            return Path(name).expanduser()
        raise
    return file_of(row.source, row.path)
