"""Pictures of pages as files, for the option `--show`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_ollama.blocks.output_files import output_folder, write_output
from prefect_ollama.console import tell_note
from prefect_ollama.reading_options import PasswordOptions, ReadingOptions
from prefect_ollama.tasks.searching import MarkedPage, PageDrawer

if TYPE_CHECKING:
    from prefect_ollama.blocks.documents import CheckedAnswer, Hit, Quote


class Pictures:
    """Writes pages as pictures into a folder. Made before the search, so that a wrong folder is named first.

    Raises:
        ConfigurationError: The folder cannot be made or written to, or a file of passwords cannot be read.
    """

    def __init__(self, folder: Path, passwords: PasswordOptions) -> None:
        self._folder = output_folder(folder)
        self._options = ReadingOptions(passwords=passwords).options()

    def of_hits(self, found: Sequence[Hit], question: int) -> list[list[str]]:
        """Write the pages of hits, and return the files of each hit. Failed pages are named on stderr."""
        with PageDrawer(self._options) as drawer:
            return [
                self._write(drawer.passage(hit), f"Passage {number}", hit.path, number, question)
                for number, hit in enumerate(found, 1)
            ]

    def of_quotes(self, answer: CheckedAnswer) -> dict[Quote, list[str]]:
        """Write the pages of an answer's quotes, the words marked; return the files of each quote.

        Stderr names the quotes that cannot be drawn or marked.
        """
        with PageDrawer(self._options) as drawer:
            return {
                quote: self._write(
                    drawer.quote(quote, answer.passages[quote.passage - 1]),
                    f"Quote [{number}]",
                    quote.path,
                    number,
                )
                # Numbers as the printed answer has them, so that a file can be found by its mark.
                for number, quote in enumerate(answer.quotes(), 1)
            }

    def _write(
        self, pages: Iterable[MarkedPage], what: str, path: str, number: int, question: int = 0
    ) -> list[str]:
        files = []
        for page in pages:
            if page.note:
                tell_note(f"{what}, {path!r}, page {page.page}: {page.note}")
            if page.png:
                file = self._folder / picture_name(path, number, page.page, question)
                write_output(file, page.png, "The answer was found, and is not shown.")
                files.append(str(file))
        return files


def picture_name(path: str, rank: int, page: int, question: int = 0) -> str:
    """Return the name of a picture's file: rank, the document's own name in plain characters, page."""
    # A document's name may hold any character; the name of a file on this machine may not.
    # At most 60 characters, which may have four bytes each: names of files have 255 bytes on most file systems.
    stem = re.sub(r"[^\w.-]+", "-", Path(path).stem).strip("-.")[:60] or "document"
    return f"{f'{question}-' if question else ''}{rank:02}-{stem}-page-{page}.png"
