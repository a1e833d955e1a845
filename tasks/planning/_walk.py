"""Look through a folder for entries that look like documents, without those that patterns exclude."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from pathspec import GitIgnoreSpec

from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.tasks.parsing import FORMATS

# Suffixes of the names of documents. The content decides later whether a file is what its name says.
SUFFIXES: Final = tuple(sorted({suffix for each in FORMATS for suffix in each.suffixes}))

# Whether a path within a source, with `/`, is left out; a folder's ends in `/`.
Excluded = Callable[[str], bool]


def excluded_by(patterns: Sequence[str]) -> Excluded:
    """Return what patterns leave out; `ConfigurationError` if one cannot be read."""
    try:
        spec = GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise ConfigurationError(
            f"The patterns to exclude cannot be read: {error}.",
            state="Nothing was changed.",
            remedy="Write them as in a .gitignore, for example 'drafts/' or '*-old.pdf'.",
        ) from None
    return spec.match_file


def walk(root: Path, excluded: Excluded) -> Iterator[tuple[Path, OSError | None]]:
    """Yield entries that look like documents, and those that cannot be looked at, with their errors.

    `os.walk` takes a folder that cannot be looked at, as on a share that is gone, for a file. Its documents would count
    as deleted.
    """
    left = [""]
    while left:
        before = left.pop()
        inside = []
        try:
            with os.scandir(root / before) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            if not before:
                raise
            yield root / before, error
            continue
        for entry in entries:
            path, failed, folder = before + entry.name, None, False
            document = entry.name.lower().endswith(SUFFIXES)
            try:
                folder = entry.is_dir(follow_symlinks=False)
            except OSError as error:
                failed = error
            # Folders are matched too, as git does: what is in an excluded folder is not looked at, and no later pattern
            # brings it back.
            if entry.name.startswith(".") or excluded(f"{path}/" if folder and not document else path):
                continue
            if document or failed is not None:
                yield root / path, failed
            elif folder:
                inside.append(f"{path}/")
        left += reversed(inside)
