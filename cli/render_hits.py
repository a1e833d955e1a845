"""How the passages that a search found look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from prefect_ollama.console import line

if TYPE_CHECKING:
    from prefect_ollama.blocks.documents import Found, Hit

# Characters of a passage to show.
MAX_PASSAGE_CHARACTERS: Final = 400

# Characters of an embedded text to show, which is to be seen whole.
MAX_EMBEDDED_CHARACTERS: Final = 10_000

# Other places of a passage to name.
OTHER_PLACES: Final = 3


def answers(
    found: Sequence[Found], *, explain: bool, pictures: Sequence[Sequence[Sequence[str]]]
) -> RenderableType:
    """Return the passages of several questions, each below its question; of one question only the passages.

    Args:
        found: What each question found.
        explain: Whether scores and the embedded texts are shown.
        pictures: For each question and each of its passages, the files with pictures of its pages.
    """
    if len(found) == 1:
        return Group(hits(found[0], explain=explain, pictures=pictures[0]), *_notes(found[0]))
    parts: list[RenderableType] = []
    for each, files in zip(found, pictures, strict=True):
        parts.append(line(each.question, "bold underline"))
        shown = hits(each, explain=explain, pictures=files) if each.error is None else line(each.error, "red")
        parts += [shown, *_notes(each), Text()]
    return Group(*parts)


def _notes(found: Found) -> list[Text]:
    return [line(note, "yellow") for note in found.notes]


def hits(
    found: Sequence[Hit], *, explain: bool = False, pictures: Sequence[Sequence[str]] = ()
) -> RenderableType:
    """Return passages, the best first."""
    if not found:
        return Text("Nothing found.")
    parts: list[RenderableType] = []
    for number, hit in enumerate(found, 1):
        parts.append(line(f"{number}. {hit.path}, {_pages(hit)} ({hit.score:.3f})", "bold"))
        about = [line(hit.title, "dim")] if hit.title else []
        about += [line(hit.heading, "dim")] if hit.heading else []
        if hit.around:
            about += [
                line(_on_one_line(each.text), "" if each.position == hit.position else "dim")
                for each in hit.around
            ]
        else:
            about.append(line(_shortened(hit.text)))
        about += [line(file, "green") for file in (pictures[number - 1] if pictures else ())]
        others = [line(f"also in {_other_places(hit)}", "dim")] if hit.copies else []
        parts.append(Padding(Group(*about, *others, *(_explained(hit) if explain else [])), (0, 0, 1, 3)))
    return Group(*parts)


def _pages(hit: Hit) -> str:
    """Return the pages of a hit, with the numbers printed on them where these differ."""
    one = hit.page_from == hit.page_to
    counted = f"page {hit.page_from}" if one else f"pages {hit.page_from}-{hit.page_to}"
    # Printed numbers differ from counted ones behind a preface in Roman numbers, for example.
    labels = list(dict.fromkeys(filter(None, (hit.page_label_from, hit.page_label_to))))
    printed = "-".join(labels)
    plain = str(hit.page_from) if one else f"{hit.page_from}-{hit.page_to}"
    return f"{counted}, printed {printed}" if printed and printed != plain else counted


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _shortened(text: str) -> str:
    whole = _on_one_line(text)
    if len(whole) <= MAX_PASSAGE_CHARACTERS:
        return whole
    return whole[:MAX_PASSAGE_CHARACTERS].rsplit(" ", 1)[0] + " …"


def _explained(hit: Hit) -> list[Text]:
    scores = {"by vector": hit.vector_score, "by words": hit.text_score}
    parts = ", ".join(
        f"{name} {'not found' if score is None else f'{score:.3f}'}" for name, score in scores.items()
    )
    return [
        line(f"score {hit.score:.3f} ({parts})", "cyan"),
        line(
            f"embedded: {_on_one_line(hit.embedded_text or hit.text)}",
            "cyan",
            longest=MAX_EMBEDDED_CHARACTERS,
        ),
    ]


def _other_places(hit: Hit) -> str:
    """Return other places of a hit, in a line; a path in another source with its source."""
    places = [
        f"{place.path if place.source == hit.source else f'{place.source}: {place.path}'}, page {place.page_from}"
        for place in hit.also_in[:OTHER_PLACES]
    ]
    more = hit.copies - len(places)
    return "; ".join(places) + (f"; and {more} more" if more else "")
