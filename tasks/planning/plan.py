"""The plan: the action for each file, decided from the scan and the manifest before anything is changed.

A file with the same size and time is unchanged. If they differ, the hash of its content decides. So a run over an
unchanged folder reads no file, unless `rehash` is set.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prefect_ollama.blocks.documents import FAILED, PARTIAL, STALE, Document
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.tasks.planning._notes import notes_of
from prefect_ollama.tasks.planning.open_beneath import hash_descriptor
from prefect_ollama.tasks.planning.source import Source, SourceFile
from prefect_ollama.tasks.planning.stored_paths import LISTED, document_id, file_of, is_gone


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions of a run.

    Attributes:
        source: Name of the source.
        new: Files that are not in the manifest.
        changed: Files whose content differs from the stored one, or whose document is stale.
        again: Files that failed before and are tried again.
        reread: Unchanged files that are read again because an earlier parser or chunker read them.
        renamed: Old document ids, each with the manifest row at the new path.
        moved: Document ids in another source, whose file is gone there, each with the manifest row of a new file with
            the same content.
        touched: Manifest rows of `unchanged` and `failed_before` to write again, because the file has a new time and
            the same content.
        unchanged: Manifest rows of unchanged files.
        failed_before: Manifest rows of files that failed before, did not change, and are not tried again.
        removed: Manifest rows of files that are gone.
        kept: Manifest rows of files that are gone and whose documents stay, because removal is off.
        refused: Manifest rows of entries that cannot be documents.
        newly_refused: The rows of `refused` that are not in the manifest yet.
        outdated: Number of documents that stay as an earlier parser or chunker read them.
        notes: Notes for the user about this source and others, one or two sentences each.
    """

    source: str
    new: tuple[SourceFile, ...] = ()
    changed: tuple[SourceFile, ...] = ()
    again: tuple[SourceFile, ...] = ()
    reread: tuple[SourceFile, ...] = ()
    renamed: tuple[tuple[str, Document], ...] = ()
    moved: tuple[tuple[str, Document], ...] = ()
    touched: tuple[Document, ...] = ()
    unchanged: tuple[Document, ...] = ()
    failed_before: tuple[Document, ...] = ()
    removed: tuple[Document, ...] = ()
    kept: tuple[Document, ...] = ()
    refused: tuple[Document, ...] = ()
    newly_refused: tuple[Document, ...] = ()
    outdated: int = 0
    notes: tuple[str, ...] = ()

    @property
    def bookkeeping(self) -> bool:
        """Whether the table has to be changed, apart from the files to read."""
        return bool(self.renamed or self.moved or self.touched or self.removed or self.newly_refused)

    @property
    def to_read(self) -> tuple[SourceFile, ...]:
        """Files to parse, by path."""
        return tuple(
            sorted((*self.new, *self.changed, *self.again, *self.reread), key=lambda file: file.path)
        )

    def counts(self) -> dict[str, int]:
        """Return the number of files or rows of each kind."""
        # `touched` and `newly_refused` are parts of others.
        names = "new changed again reread renamed moved unchanged failed_before removed kept refused"
        return {name: len(getattr(self, name)) for name in names.split()}


def make_plan(
    source: Source,
    manifest: Sequence[Document],
    *,
    remove_missing: bool = True,
    allow_empty: bool = False,
    retry_failed: bool = False,
    rehash: bool = False,
    reread: bool = False,
    is_outdated: Callable[[Document], bool] = lambda _: False,
    others: Sequence[Document] = (),
) -> Plan:
    """Compare the files of a source with the manifest.

    Args:
        source: The scan.
        manifest: The manifest's rows of this source.
        remove_missing: Remove documents whose file is gone. Only a source that is a whole folder shows that.
        allow_empty: Allow that this removes all documents of the source.
        retry_failed: Try files again that failed before, even if they did not change.
        rehash: Read every file and compare the hash of its content, even if size and time are the same.
        reread: Read unchanged files again if an earlier parser or chunker read them.
        is_outdated: Returns whether an earlier or unknown version of parser or chunker has read a document.
        others: The manifest's rows of other sources.

    Raises:
        ConfigurationError: All documents of the source would be removed and `allow_empty` is False.
    """
    stored = {row.path: row for row in manifest}
    here = {file.path for file in source.files} | {row.path for row in source.refused}
    gone = [row for row in manifest if row.path not in here and _vanished(source, row)]
    new, changed, again, read_again = [], [], [], []
    touched, unchanged, failed_before = [], [], []
    for file in source.files:
        row = stored.get(file.path)
        if row is None:
            new.append(file)
            continue
        # A run was killed while it wrote the document, so a part of it may be missing.
        if row.status == STALE:
            changed.append(file)
            continue
        if (row.size, row.mtime_ns) != (file.size, file.mtime_ns):
            if row.status == FAILED or row.size != file.size or _hash(file) != row.content_hash:
                changed.append(file)
                continue
            row = replace(row, mtime_ns=file.mtime_ns)
            touched.append(row)
        elif rehash and _hash(file) != row.content_hash:  # a failed file may have no hash, and is read again
            changed.append(file)
            continue
        better = reread and is_outdated(row)
        if row.status not in (FAILED, PARTIAL):
            if better:
                read_again.append(file)
            else:
                unchanged.append(row)
        elif retry_failed or better:
            again.append(file)
        else:
            failed_before.append(row)
    known = {(row.path, row.status, row.reason) for row in manifest}
    # Renames are found before moves: a file of the same source is the more likely origin.
    renamed, new = _paired(source, new, gone)
    gone_on = {old for old, _ in renamed}
    gone = [row for row in gone if row.doc_id not in gone_on]
    moved, new = _find_moved(source, new, others)
    # Renamed and moved documents keep their chunks, so an earlier parser may have made them.
    taken_over = [row for _, row in (*renamed, *moved) if is_outdated(row)]
    if reread:
        files = {file.path: file for file in source.files}
        read_again += [files[row.path] for row in taken_over]
        taken_over = []
    outdated = sum(map(is_outdated, (*unchanged, *failed_before, *taken_over)))
    # Rows of failed files have no chunks, so nothing is lost with them.
    lost = [row for row in gone if row.status != FAILED]
    left = sum(row.status != FAILED for row in manifest) - len(lost)
    if lost and remove_missing and not left and not new and not moved and not allow_empty:
        raise ConfigurationError(
            f"All documents of {source.name!r} ({len(lost):,}) are gone, as when a disk or share is not mounted.",
            state="Nothing was removed.",
            remedy="Check the folder and *Exclude* (`--exclude`). If no document shall be left, use *Allow empty* "
            "(`--allow-empty`).",
        )
    return Plan(
        source.name,
        new=tuple(new),
        changed=tuple(changed),
        again=tuple(again),
        reread=tuple(read_again),
        renamed=tuple(renamed),
        moved=tuple(moved),
        touched=tuple(touched),
        unchanged=tuple(unchanged),
        failed_before=tuple(failed_before),
        removed=tuple(gone) if remove_missing else (),
        kept=() if remove_missing else tuple(gone),
        refused=source.refused,
        newly_refused=tuple(row for row in source.refused if (row.path, row.status, row.reason) not in known),
        outdated=outdated,
        notes=tuple(notes_of(source, gone if remove_missing else (), moved, others, outdated)),
    )


def _vanished(source: Source, row: Document) -> bool:
    """Return whether a document's file is certainly gone.

    The scan of a whole folder shows it, except in subfolders that cannot be read. For a pattern the disk is asked. A
    list of files shows nothing about other files.
    """
    if any(row.path.startswith(f"{folder.path}/") for folder in source.refused):
        return False
    if source.whole or source.name == LISTED:
        return source.whole
    named = "\\x" not in row.path  # if not, its path may not be the file's own, see `readable`
    return named and is_gone(Path(source.name, row.path)) and not is_gone(Path(source.name))


def _find_moved(
    source: Source, new: Iterable[SourceFile], others: Iterable[Document]
) -> tuple[list[tuple[str, Document]], list[SourceFile]]:
    """Pair new files with documents of other sources whose file is gone, as after a folder was moved."""
    # The size first, because asking the disk for every document of other sources would take seconds.
    sizes = {file.size for file in new}
    gone = (row for row in others if row.size in sizes and not os.path.lexists(file_of(row)))
    pairs, left = _paired(source, new, gone)
    # The time of nodes stays with the old document, so that it is not counted twice.
    return [(old, replace(row, node_seconds=0.0)) for old, row in pairs], left


def _paired(
    source: Source, new: Iterable[SourceFile], gone: Iterable[Document]
) -> tuple[list[tuple[str, Document]], list[SourceFile]]:
    """Pair new files with documents of the same content, as rows of this source. Files of another size are not read."""
    candidates: defaultdict[int, list[Document]] = defaultdict(list)
    for row in gone:
        if row.status not in (FAILED, STALE) and row.content_hash:
            candidates[row.size].append(row)
    renamed: list[tuple[str, Document]] = []
    left: list[SourceFile] = []
    for file in new:
        same = candidates.get(file.size, [])
        digest = _hash(file) if same else ""
        match = next((row for row in same if row.content_hash == digest), None)
        if match is None:
            left.append(file)
            continue
        same.remove(match)
        new_id = document_id(source.name, file.path)
        row = replace(match, doc_id=new_id, source=source.name, path=file.path, mtime_ns=file.mtime_ns)
        renamed.append((match.doc_id, row))
    return renamed, left


def _hash(file: SourceFile) -> str:
    """Return the hash of the content; empty if it cannot be read. Parsing then reports the reason."""
    try:
        with file.opened() as descriptor:
            return hash_descriptor(descriptor)
    except OSError:
        return ""
