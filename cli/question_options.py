"""Options of commands that ask a table: the question, how passages are searched, and which may be found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from prefect_ollama.blocks.errors import ConfigurationError

if TYPE_CHECKING:
    from prefect_ollama.flows import Only as FlowOnly
    from prefect_ollama.tasks.searching import Filter

QUESTION = Parameter(
    help="What you want to know. Without quotes its words are joined; the shell keeps `?` and `*`."
)

# The same as `blocks.lance.Mode`, which takes a second to import.
Mode = Literal["vector", "text", "hybrid"]

ModeOption = Annotated[Mode, Parameter(help="How passages are searched: by meaning, by words, or both.")]


@Parameter(name="*", help="Which passages may be found.")
@dataclass(frozen=True, slots=True)
class Only:
    """Which passages may be found."""

    source: Annotated[str | None, Parameter(help="Only documents of this source, as reports name it.")] = None
    document: Annotated[
        tuple[str, ...],
        Parameter(
            name=["--document", "--folder", "-d"],
            show_default=False,
            help="Only documents of this name: a path, a file's name, a folder, or a quoted glob pattern; may be "
            "given several times.",
        ),
    ] = ()
    since: Annotated[
        date | None,
        Parameter(
            help="Only documents of this day (2024-12-31) or later, by their metadata, else by their file."
        ),
    ] = None
    until: Annotated[date | None, Parameter(help="Only documents of this day or earlier.")] = None
    pages: Annotated[str | None, Parameter(help="Only passages on this page (12) or these pages (3-9).")] = (
        None
    )
    title: Annotated[str, Parameter(show_default=False, help="Only documents whose title holds this.")] = ""
    author: Annotated[str, Parameter(show_default=False, help="Only documents whose author holds this.")] = ""

    def options(self) -> Filter:
        """Return the filter of a search, for a command that runs no flow.

        Raises:
            ConfigurationError: `--pages` names no pages.
        """
        from prefect_ollama.tasks.searching import Filter

        pages = _pages(self.pages)
        return Filter(source=self.source, documents=self.document, pages=pages, **self._plain())

    def form(self) -> FlowOnly:
        """Return the filter as flows take it; the source is a parameter of its own.

        Raises:
            ConfigurationError: `--pages` names no pages.
        """
        from prefect_ollama.flows import Only as FlowOnly

        first, last = _pages(self.pages) or (None, None)
        return FlowOnly(documents=list(self.document), first_page=first, last_page=last, **self._plain())

    def _plain(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("since", "until", "title", "author")}


EVERYTHING = Only()


def _pages(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, dash, last = text.partition("-")
    try:
        return int(first), int(last if dash else first)
    except ValueError:
        raise ConfigurationError(
            f"--pages {text!r} names no pages.",
            state="Nothing was done.",
            remedy="Write a number, such as 12, or the first and the last, such as 3-9.",
        ) from None
