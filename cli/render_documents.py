"""How the documents of a table, and the chunks of one, look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.console import line
from prefect_ollama.fitted_table import Fitted

if TYPE_CHECKING:
    from prefect_ollama.blocks.documents import Chunk, Document

# Characters of a chunk to show, which is to be seen whole.
MAX_CHUNK_CHARACTERS: Final = 100_000

# Characters of a run's name in the table; `prefect-ollama runs` shows all.
RUN_NAME_CHARACTERS: Final = 8


def documents(rows: Sequence[Document], *, empty: str) -> RenderableType:
    """Return the documents of a table by source, and the problems of some, or a text for none; it fits 80 columns."""
    if not rows:
        return Text(empty)
    parts: list[RenderableType] = []
    for source in dict.fromkeys(row.source for row in rows):
        some = [row for row in rows if row.source == source]
        cells = (
            (
                row.path,
                row.status,
                row.pages,
                row.chunks,
                _day(row),
                _stored(row),
                row.run_id[:RUN_NAME_CHARACTERS],
            )
            for row in some
        )
        parts += [
            line(source, "bold"),
            Fitted(
                ("document", "status", "pages", "chunks", "dated", "stored", "run"),
                cells,
                # Status and chunks stay longest: they show a document that needs attention.
                drop=("run", "stored", "dated", "pages"),
                numbers=("pages", "chunks"),
            ),
            Text(),
        ]
    for row in (each for each in rows if each.reason):
        lines = [line(text) for text in (row.reason, row.remedy) if text]
        parts += [line(f"{row.path} ({row.status})", "red"), Padding(Group(*lines), (0, 0, 0, 2))]
    stored = sum(row.chunks > 0 for row in rows)
    pages = quantity(sum(row.pages for row in rows), "page")
    count = quantity(sum(row.chunks for row in rows), "chunk")
    parts.append(
        line(
            f"{stored} of {quantity(len(rows), 'document has', 'documents have')} passages: {pages}, {count}.",
            "dim",
        )
    )
    return Group(*parts)


def chunks(document: Document, parts: Sequence[Chunk], *, prefix: str) -> RenderableType:
    """Return a document and its chunks, each with the embedded text if that differs; `prefix` stands before each."""
    lines = [line(f"{document.path} ({document.status})", "bold")]
    about = [
        document.title,
        document.author,
        quantity(document.pages, "page"),
        quantity(len(parts), "chunk"),
        _day(document),
    ]
    lines.append(line(", ".join(filter(None, about)), "dim"))
    lines += [line(text, "yellow") for text in (document.reason, document.remedy) if text]
    if prefix:
        lines.append(line(f"Before each embedded text stands the prompt {prefix!r}.", "dim"))
    shown: list[RenderableType] = [*lines]
    for each in parts:
        head = f"{each.position}. page {each.page_from}"
        head += f"-{each.page_to}" if each.page_to != each.page_from else ""
        head += f", printed {each.page_label_from}" if each.page_label_from else ""
        body = [line(each.heading, "dim")] if each.heading else []
        body += [_text(each.text)]
        if each.embedded_text:
            body += [line("embedded:", "cyan"), _text(each.embedded_text, "cyan")]
        shown += [
            Text(),
            line(f"{head} ({quantity(each.tokens, 'token')})", "bold"),
            Padding(Group(*body), (0, 0, 0, 3)),
        ]
    return Group(*shown)


def _text(text: str, style: str = "") -> Text:
    return Text("\n").join(line(each, style, longest=MAX_CHUNK_CHARACTERS) for each in text.splitlines())


def _day(row: Document) -> str:
    known = row.modified or row.created
    return f"{known:%Y-%m-%d}" if known else ""


def _stored(row: Document) -> str:
    return f"{row.updated_at.astimezone():%Y-%m-%d}" if row.updated_at else ""
