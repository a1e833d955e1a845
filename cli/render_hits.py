"""How the passages that a search found look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from prefect_ollama.console import line

if TYPE_CHECKING:
    from prefect_ollama.blocks.documents import Hit

PASSAGE: Final = 400
"""Characters of a passage to show."""

OTHER_PLACES: Final = 3
"""Other places of a passage to name."""


def hits(found: Sequence[Hit]) -> RenderableType:
    """Passages, the best first."""
    if not found:
        return Text("Nothing found.")
    parts: list[RenderableType] = []
    for number, hit in enumerate(found, 1):
        pages = (
            f"page {hit.page_from}"
            if hit.page_from == hit.page_to
            else f"pages {hit.page_from}-{hit.page_to}"
        )
        text = " ".join(hit.text.split())
        shown = text if len(text) <= PASSAGE else text[:PASSAGE].rsplit(" ", 1)[0] + " …"
        parts.append(line(f"{number}. {hit.path}, {pages} ({hit.score:.3f})", "bold"))
        told = [line(hit.heading, "dim")] if hit.heading else []
        others = [line(f"also in {_others(hit)}", "dim")] if hit.copies else []
        parts.append(Padding(Group(*told, line(shown), *others), (0, 0, 1, 3)))
    return Group(*parts)


def _others(hit: Hit) -> str:
    """Other places of a hit, in a line; a path in another source with its source."""
    places = [
        f"{place.path if place.source == hit.source else f'{place.source}: {place.path}'}, page {place.page_from}"
        for place in hit.also_in[:OTHER_PLACES]
    ]
    more = hit.copies - len(places)
    return "; ".join(places) + (f"; and {more} more" if more else "")
