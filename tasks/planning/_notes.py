"""Notes for the user: sentences about a plan, about other sources with the same files, and about what is forgotten."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from prefect_ollama.blocks.documents import FAILED, Document
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.tasks.planning._walk import SUFFIXES
from prefect_ollama.tasks.planning.source import Source
from prefect_ollama.tasks.planning.stored_paths import LISTED, file_of, is_gone, location_of, named


def notes_of(
    source: Source,
    removed: Iterable[Document],
    moved: Sequence[tuple[str, Document]],
    others: Sequence[Document],
    outdated: int,
) -> Iterator[str]:
    """Return the notes on a plan: on its source, what it removes and moves, other sources, and outdated documents."""
    yield from _empty_note(source)
    yield from _emptied_notes(source, removed)
    yield from _moved_notes(moved, others)
    yield from _overlap_notes(source, others)
    yield from _outdated_note(outdated)


def _empty_note(source: Source) -> Iterator[str]:
    if not source.files and not source.refused:
        yield (
            f"There is no PDF in {source.name!r} or in the folders in it, apart from hidden and excluded files. A file "
            f"counts as a PDF if its name ends in {', '.join(map(repr, SUFFIXES))}."
        )


def _emptied_notes(source: Source, removed: Iterable[Document]) -> Iterator[str]:
    """Return notes on folders that lose their documents because they are empty, as when a share is not mounted."""
    above = Counter(next(p for p in Path(source.name, row.path).parents if not is_gone(p)) for row in removed)
    for folder, count in sorted(above.items()):
        try:
            empty = str(folder) != source.name and not any(folder.iterdir())
        except OSError:  # a file, or a folder that cannot be read
            continue
        if empty:
            yield (
                f"{quantity(count, 'document is', 'documents are')} removed with the content of {str(folder)!r}, which "
                "is empty, as when a disk or share is not mounted. If it should not be empty, mount it and run again; "
                "vectors come from the cache."
            )


def _outdated_note(count: int) -> Iterator[str]:
    if count:
        yield (
            f"{count} of the documents were read by an earlier version of the parser or the chunker. They stay as they "
            "are. To read them again, use *Reread* (`--reread`); only chunks whose text "
            "changes are embedded."
        )


def _moved_notes(moved: Sequence[tuple[str, Document]], others: Sequence[Document]) -> Iterator[str]:
    rows = {row.doc_id: row for row in others}
    old = [rows[doc_id] for doc_id, _ in moved]
    for source, count in sorted(Counter(row.source for row in old).items()):
        what = source if source != LISTED else location_of(next(row for row in old if row.source == LISTED))
        more = " (and of each other file)" if source == LISTED and count > 1 else ""
        yield (
            f"{quantity(count, 'file has', 'files have')} the content of documents of {named(source)} that are gone "
            "there; their chunks and vectors are reused. The old documents stay in the table until you "
            f"`forget` {what!r}{more}."
        )


def _overlap_notes(source: Source, others: Sequence[Document]) -> Iterator[str]:
    """Notes on files that another source has too: a folder within a folder, a file within a folder."""
    here = {_real(source.name, file.location) for file in source.files}
    there = Counter(
        row.source for row in others if row.status != FAILED and _real(row.source, location_of(row)) in here
    )
    for name, count in sorted(there.items()):
        yield (
            f"{quantity(count, 'file is', 'files are')} in the table under the source {named(name)} too. A search "
            "shows each passage once; to store it once, `forget` one of the two sources."
        )


def _real(source: str, location: str) -> str:
    """Return the path of a file within a folder whose name is resolved already."""
    return os.path.realpath(location) if source == LISTED else location


def notes_on(documents: Sequence[Document], manifest: Sequence[Document]) -> list[str]:
    """Return what a user should know before these documents are taken out, a sentence or two each."""
    notes = []
    returning = Counter(row.source for row in documents if row.source != LISTED and not is_gone(file_of(row)))
    for source, count in sorted(returning.items()):
        notes.append(
            f"{quantity(count, 'file is', 'files are')} still in {source!r}. The next ingest of it stores them "
            "again; move or delete them first to keep them out."
        )
    sources = {row.source for row in documents}
    below = Counter(
        row.source
        for row in manifest
        if row.source not in sources and any(location_of(row).startswith(f"{source}/") for source in sources)
    )
    for source, count in sorted(below.items()):
        notes.append(
            f"{quantity(count, 'document')} below the same folder, of another source, {named(source)}, "
            "will stay."
        )
    return notes
