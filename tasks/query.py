"""Ask a table, and show the pages of passages, as steps that Prefect shows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import task_run

from prefect_ollama.blocks.documents import Found, Hit
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.prefect_state import UNCACHED, Opaque, counted_name, run_logger
from prefect_ollama.tasks.reporting import picture_markdown
from prefect_ollama.tasks.searching import Corpus, page_pictures

# Pages in an artifact: each takes some 100 KB in Prefect's database.
SHOWN_PAGES: Final = 10

# Dots per inch: less than for files, because Prefect keeps artifacts in its database.
SHOWN_DPI: Final = 72
# Key of the artifact, one for all searches.
PAGES: Final = "search-pages"


def _search_name() -> str:
    options = task_run.parameters["options"]
    return f"search {quantity(options['limit'], 'passage')}, {options['mode']}"


@task(name="search table", task_run_name=_search_name, **UNCACHED)
def search_table(corpus: Opaque[Corpus], question: str, options: dict[str, Any]) -> Found:
    """Ask a table for the best passages.

    Args:
        options: As `Corpus.search` takes them.
    """
    found = corpus.content.search(question, **options)
    for note in found.notes:
        run_logger().warning("%s", note)
    return found


@task(name="show pages", task_run_name=counted_name("show the pages of", "passage", of="hits"), **UNCACHED)
def show_pages(question: str, hits: Opaque[Sequence[Hit]]) -> None:
    """Draw the pages of passages, marked, into an artifact of the run; the first `SHOWN_PAGES` of them.

    Args:
        question: The question, the artifact's title.
        hits: The passages; their files have to be readable here.
    """
    parts = [f"# {escape_markdown(question)}"]
    for place, picture in islice(page_pictures(hits.content, dpi=SHOWN_DPI), SHOWN_PAGES):
        path = escape_markdown(hits.content[place].path)
        parts.append(f"## {place + 1}. {path}, page {picture.page}")
        if picture.png:
            parts.append(picture_markdown(f"page {picture.page}", picture.png))
        else:
            parts.append(escape_markdown(picture.note))
    create_markdown_artifact(
        "\n\n".join(parts), key=PAGES, description=f"Pages for: {escape_markdown(question)}"
    )
