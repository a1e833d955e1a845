"""The parts of a file that are not read because they are not on its pages: attached files, hidden layers, forms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from prefect_ollama.tasks.parsing.document import Problem
from prefect_ollama.tasks.parsing.pdf._layout import RawPage

# Names to list of each kind; the others are counted.
_MAX_NAMES: Final = 20


def not_on_pages(about: dict[str, Any], pages: Sequence[RawPage]) -> Iterator[Problem]:
    """Say what was not read, by the result of `beside_pages` and by the pages that were read."""
    files = list(dict.fromkeys([*about.get("files", ()), *(name for page in pages for name in page.files)]))
    if files:
        names = _named(files)
        if about.get("portfolio"):
            kind, reason = "portfolio", f"The file is a portfolio; only its cover was read, and not: {names}."
        else:
            kind, reason = "attachments", f"{_count(files, 'attached file')} not read: {names}."
        remedy = "Save what is attached with a PDF viewer, and ingest it as files of its own."
        yield Problem(None, kind, reason, remedy, unread=kind == "portfolio")
    if layers := about.get("layers"):
        reason = f"{_count(layers, 'hidden layer')} not read: {_named(layers)}."
        yield Problem(None, "layers", reason, "Show them in a PDF viewer, and save the file.", False)
    if hidden := sum(page.hidden for page in pages):
        reason = f"{hidden} hidden comment{'s were' if hidden > 1 else ' was'} not read."
        yield Problem(None, "hidden-comments", reason, "Show them in a PDF viewer, and save the file.", False)
    if about.get("xfa"):
        dynamic = bool(about.get("dynamic"))
        reason = "The file is an XFA form" + (", whose pages are made by its viewer" if dynamic else "")
        remedy = "Print it to a PDF with a viewer that shows its fields."
        yield Problem(None, "xfa", f"{reason}; what only XFA holds was not read.", remedy, dynamic)


def _count(names: Sequence[str], noun: str) -> str:
    return f"{len(names)} {noun}" + ("s were" if len(names) > 1 else " was")


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more
