"""Pages as pictures: with the passages of hits marked, or the words of quotes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from prefect_ollama.blocks.documents import Hit, Quote, Region
from prefect_ollama.blocks.errors import DocumentError
from prefect_ollama.tasks.parsing import ParseOptions, Parsers, Quoted
from prefect_ollama.tasks.planning import file_of

# Dots per inch of a page's picture: a page of A4 has 910 by 1,286 of them.
DPI: Final = 110

PASSAGE_MARKED: Final = "The words of the quote are not in the text of the page; its whole passage is marked."
PART_MARKED: Final = "A part of the quote's words is not in the text of the page, and is not marked."

# Share of letters from which a quote counts as marked whole: a raised figure may be spelled another way on the page.
_WHOLE: Final = 0.95


@dataclass(frozen=True, slots=True)
class MarkedPage:
    """A page with a passage or the words of a quote marked.

    Attributes:
        page: Counted from 1.
        png: The picture; empty if it could not be drawn.
        note: What is not marked, or why there is no picture; else empty.
    """

    page: int
    png: bytes = b""
    note: str = ""


def _pages(hit: Hit) -> list[int]:
    # Hits of tables of earlier versions have no regions.
    return sorted({region.page for region in hit.regions}) or [hit.page_from]


class PageDrawer:
    """Draws pages with passages or quotes marked. A context manager; files are read in child processes.

    A page that cannot be drawn, because its file is gone for example, has a note with the reason.

    Args:
        options: Limits and passwords for the files.
        dpi: Resolution.
    """

    def __init__(self, options: ParseOptions | None = None, *, dpi: int = DPI) -> None:
        self._options, self._dpi = options, dpi
        self._parsers = Parsers()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parsers.close()

    def passage(self, hit: Hit) -> Iterator[MarkedPage]:
        """Yield the pages of a passage, with the passage marked."""
        for page in _pages(hit):
            try:
                file = file_of(hit)
                parser = self._parsers.parser_of(file)
                drawn = parser.picture(file, page, hit.regions, self._options, dpi=self._dpi)
                yield MarkedPage(page, drawn.png)
            except DocumentError as error:
                yield MarkedPage(page, note=str(error))

    def quote(self, quote: Quote, passage: Hit) -> list[MarkedPage]:
        """Return the pages on which a quote stands, with its words marked.

        A page whose text does not hold them, for example a scanned one, has the whole passage marked, and a note.
        """
        pages = _pages(passage)
        quoted = Quoted.of(passage.text, quote.start, quote.end)
        try:
            return self.drawn(file_of(passage), pages, passage.regions, quoted)
        except DocumentError as error:  # for example, the file is gone; the quote itself is still shown
            return [MarkedPage(pages[0], note=str(error))]

    def drawn(
        self, file: Path, pages: Sequence[int], regions: Sequence[Region], quoted: Quoted
    ) -> list[MarkedPage]:
        """Return those pages of a file that hold words of a quote; if none does, all, with the regions marked.

        Args:
            pages: Pages that may hold them, counted from 1.
            regions: Where the passage of the quote stands.
            quoted: The words.

        Raises:
            DocumentError: A page cannot be drawn.
        """
        parser, options, dpi = self._parsers.parser_of(file), self._options, self._dpi
        found = [
            (page, parser.picture(file, page, regions, options, quoted=quoted, dpi=dpi)) for page in pages
        ]
        # A quote that is whole on one page may also have some of its words on the next, where they are not the quote.
        whole = [each for each in found if each[1].share >= _WHOLE]
        marked = whole[:1] or [each for each in found if each[1].png]
        if marked:
            note = "" if sum(each.share for _, each in marked) >= _WHOLE else PART_MARKED
            return [MarkedPage(page, each.png, note) for page, each in marked]
        return [
            MarkedPage(page, parser.picture(file, page, regions, options, dpi=dpi).png, PASSAGE_MARKED)
            for page in pages
        ]
