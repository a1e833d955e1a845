"""Pictures of pages as files, for the option `--show`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.user_path import with_home
from prefect_ollama.console import tell_note
from prefect_ollama.reading_options import PasswordOptions, ReadingOptions
from prefect_ollama.tasks.searching import MarkedPage, PageDrawer

if TYPE_CHECKING:
    from prefect_ollama.blocks.documents import CheckedAnswer, Hit, Quote
    from prefect_ollama.tasks.parsing import ParseOptions


def write_pictures(
    folder: Path, found: Sequence[Hit], question: int, options: ParseOptions
) -> list[list[str]]:
    """Write the pages of hits into a folder, and return the files of each hit. Failed pages are named on stderr."""
    with _writable(folder) as place, PageDrawer(options) as drawer:
        return [
            _write(place, drawer.passage(hit), f"Passage {number}", hit.path, number, question)
            for number, hit in enumerate(found, 1)
        ]


def write_quotes(folder: Path, answer: CheckedAnswer, options: ParseOptions) -> dict[Quote, list[str]]:
    """Write the pages of an answer's quotes into a folder, the words marked; return the files of each quote.

    Stderr names the quotes that cannot be drawn or marked.
    """
    with _writable(folder) as place, PageDrawer(options) as drawer:
        return {
            quote: _write(
                place,
                drawer.quote(quote, answer.passages[quote.passage - 1]),
                f"Quote [{number}]",
                quote.path,
                number,
            )
            # Numbers as the printed answer has them, so that a file can be found by its mark.
            for number, quote in enumerate(answer.quotes(), 1)
        }


def _write(
    place: Path, pages: Iterable[MarkedPage], what: str, path: str, number: int, question: int = 0
) -> list[str]:
    files = []
    for page in pages:
        if page.note:
            tell_note(f"{what}, {path!r}, page {page.page}: {page.note}")
        if page.png:
            file = place / picture_name(path, number, page.page, question)
            file.write_bytes(page.png)
            files.append(str(file))
    return files


def drawing_options(folder: Path, passwords: PasswordOptions) -> ParseOptions:
    """Return how pages are read. Call it before the search, so that a wrong folder or password file is named first.

    Raises:
        ConfigurationError: The folder cannot be made or written to, or a file of passwords cannot be read.
    """
    place = with_home(folder).absolute()
    there = next(each for each in (place, *place.parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "you may not write there" if there.is_dir() else f"{str(there)!r} is no folder"
        raise ConfigurationError(
            f"No pictures can be written to {str(folder)!r}: {why}.",
            state="Nothing was searched.",
            remedy="Name a folder that you may write to.",
        )
    return ReadingOptions(passwords=passwords).options()


@contextmanager
def _writable(folder: Path) -> Iterator[Path]:
    """Yield a folder for pictures, made if it does not exist.

    Raises:
        ConfigurationError: It cannot be made or written to.
    """
    try:
        folder = with_home(folder)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise ConfigurationError(
            f"{str(folder)!r} cannot be written to: {error.strerror}.",
            state="The answer was found, and is not shown.",
            remedy="Name a folder that you may write to.",
        ) from None


def picture_name(path: str, rank: int, page: int, question: int = 0) -> str:
    """Return the name of a picture's file: rank, the document's own name in plain characters, page."""
    # A document's name may hold any character; the name of a file on this machine may not.
    # At most 60 characters, which may have four bytes each: names of files have 255 bytes on most file systems.
    stem = re.sub(r"[^\w.-]+", "-", Path(path).stem).strip("-.")[:60] or "document"
    return f"{f'{question}-' if question else ''}{rank:02}-{stem}-page-{page}.png"
