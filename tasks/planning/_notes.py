"""Notes on a plan for the user: sentences about its source and about other sources with the same files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence

from prefect_ollama.blocks.documents import FAILED, Document
from prefect_ollama.tasks.planning.forget import location_of, named
from prefect_ollama.tasks.planning.path_names import LISTED
from prefect_ollama.tasks.planning.source import SUFFIXES, Source


def empty_note(source: Source) -> Iterator[str]:
    if not source.files and not source.refused:
        yield (
            f"There is no PDF in {source.name!r} or in the folders in it, hidden and excluded ones left aside. Files "
            f"count as PDFs whose name ends in {', '.join(map(repr, SUFFIXES))}."
        )


def outdated_note(count: int) -> Iterator[str]:
    if count:
        yield (
            f"{count} of the documents were read by an earlier version of the parser or the chunker. They stay as they "
            "are. To read them again, use *Reread* (`--reread`); only chunks whose text "
            "changes are embedded."
        )


def moved_notes(moved: Sequence[tuple[str, Document]], others: Sequence[Document]) -> Iterator[str]:
    rows = {row.doc_id: row for row in others}
    old = [rows[doc_id] for doc_id, _ in moved]
    for source, count in sorted(Counter(row.source for row in old).items()):
        what = source if source != LISTED else location_of(next(row for row in old if row.source == LISTED))
        more = " (and of each other file)" if source == LISTED and count > 1 else ""
        yield (
            f"{count} of the files have the content of documents of {named(source)} that are gone there; their chunks "
            f"and vectors were reused. The old documents stay in the table until you `forget` {what!r}{more}."
        )


def overlap_notes(source: Source, others: Sequence[Document]) -> Iterator[str]:
    """Notes on files that another source has too: a folder within a folder, a file within a folder."""
    here = {_real(source.name, file.location) for file in source.files}
    there = Counter(
        row.source for row in others if row.status != FAILED and _real(row.source, location_of(row)) in here
    )
    for name, count in sorted(there.items()):
        yield (
            f"{count} of the files are in the table under the source {named(name)} too. A search shows each passage "
            "once; to store it once, `forget` one of the two sources."
        )


def _real(source: str, location: str) -> str:
    """Return the path of a file within a folder whose name is resolved already."""
    return os.path.realpath(location) if source == LISTED else location
