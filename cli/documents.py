"""`prefect-ollama documents`: what a table holds, a document's chunks, and its text as Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.output_files import output_file, write_output
from prefect_ollama.console import INCOMPLETE, OK, guarded, show, show_text, tell_note
from prefect_ollama.options import PRINT, TABLE, PrintOptions, TableOptions, flag
from prefect_ollama.reading_options import READING, ReadingOptions

if TYPE_CHECKING:
    from prefect_ollama.blocks.lance import StoreSpec


@guarded(first="Reading the table…", prefect=False)
def documents(
    name: Annotated[
        str | None,
        Parameter(
            help="A document, by its path or file name: show its chunks, each with the text that was embedded. "
            "By default all documents are listed."
        ),
    ] = None,
    *,
    table: TableOptions = TABLE,
    source: Annotated[str | None, Parameter(help="List only documents of this source.")] = None,
    problems: Annotated[bool, flag("List only documents that are not stored whole.")] = False,
    markdown: Annotated[bool, flag("Read the document's file again and print its text as Markdown.")] = False,
    output: Annotated[
        Path | None, Parameter(name=["--output", "-o"], help="File for the Markdown, in place of stdout.")
    ] = None,
    reading: ReadingOptions = READING,
    out: PrintOptions = PRINT,
) -> int:
    """List what a table holds: documents with pages, chunks, dates, run and problems; or the chunks of one."""
    place = table.place()
    if not markdown:
        if output is not None:
            raise ConfigurationError("--output is for --markdown.", remedy="Give both, or neither.")
        if name is None:
            return _list(place, source, problems, out)
        return _chunks(place, name, source, out)
    if name is None or out.json:
        raise ConfigurationError(
            "--markdown needs the name of one document." if name is None else "--markdown prints no JSON.",
            state="Nothing was read.",
            remedy="Name a document or a file." if name is None else "Leave out --json.",
        )
    return _markdown(place, name, source, output, reading)


def _list(place: StoreSpec, source: str | None, problems: bool, out: PrintOptions) -> int:
    from prefect_ollama import render_documents
    from prefect_ollama.tasks.searching import Filter, described, open_for_search

    rows = open_for_search(place).manifest()
    if source is not None:
        rows = list(Filter(source=source).documents_of(rows))
    rows = [row for row in rows if row.status != "stored"] if problems else rows
    # Sorted, because the manifest has the order of commits, in which a document is hard to find.
    rows.sort(key=lambda row: (row.source, row.path))
    empty = "All documents are stored whole." if problems else "No documents."
    show([described(row) for row in rows], render_documents.documents(rows, empty=empty), out)
    # With `--problems` an empty list is good news.
    return OK if rows or problems else INCOMPLETE


def _chunks(place: StoreSpec, name: str, source: str | None, out: PrintOptions) -> int:
    from dataclasses import asdict

    from prefect_ollama import render_documents
    from prefect_ollama.tasks.searching import described, one_document, open_for_search

    store = open_for_search(place)
    row = one_document(name, store.manifest(source))
    chunks = store.chunks_of(row.doc_id)
    plain = {**described(row), "chunks": [{**asdict(each), "embedded": each.to_embed} for each in chunks]}
    prefix = store.identity.document_prefix
    show(plain, render_documents.chunks(row, chunks, prefix=prefix), out)
    return OK if chunks else INCOMPLETE


def _markdown(
    place: StoreSpec, name: str, source: str | None, output: Path | None, reading: ReadingOptions
) -> int:
    from prefect_ollama.blocks.errors import TableMissing
    from prefect_ollama.tasks.parsing import Parser, format_of, to_markdown
    from prefect_ollama.tasks.searching import file_named, open_for_search

    file_out = None if output is None else output_file(output)
    try:
        rows = open_for_search(place).manifest(source)
    except TableMissing:
        rows = []  # any file can be read, also where nothing was ingested yet
    file = file_named(name, rows)
    options = reading.options()
    with Parser(format_of(file)) as parser:
        document = parser.parse(file, options)
    text = to_markdown(document)
    if file_out is None:
        show_text(text)
    else:
        write_output(file_out, text, "The document was read.")
    for problem in document.problems:
        where = f"page {problem.page}: " if problem.page is not None else ""
        tell_note(f"{where}{problem.reason} {problem.remedy}".strip())
    return INCOMPLETE if document.unread_pages else OK
