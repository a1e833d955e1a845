"""Bundles: documents that together take seconds of node time, so that the cost of a task run is small beside it.

The number of chunks of a file is not known before it is parsed. The work of a file is estimated from its size, with the
mean of the files that this run has parsed so far.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from prefect_ollama.tasks.planning.source import SourceFile

# First estimate, before any file was parsed. The value is that of dense text, so the first bundles are small and end
# soon.
FIRST_CHUNKS_A_BYTE = 1 / 512

# Weight of the first estimate, as if it had been measured with this many bytes.
FIRST_BYTES = 2**16

# Maximum number of files in a bundle, also of very small files: if its worker dies, each file gets a bundle of its own.
MAX_FILES = 500


@dataclass(frozen=True, slots=True)
class Bundle:
    """Documents of one task run.

    Attributes:
        number: Counted from 1.
        source: Name of their source.
        files: The files.
        again: Paths of those that have something in the table or failed before.
    """

    number: int
    source: str
    files: tuple[SourceFile, ...]
    again: frozenset[str] = frozenset()


class Bundles:
    """Groups a run's files into bundles, one at a time, and measures how many chunks a byte gives.

    Args:
        again: Paths of the files that are in the table already or failed before.
        chunks: Chunks that a bundle should have.
    """

    def __init__(self, source: str, files: Sequence[SourceFile], again: frozenset[str], chunks: int) -> None:
        self._source = source
        self._files = list(reversed(files))
        self._again = again
        self._wanted = chunks
        self._bytes = 0.0
        self._chunks = 0.0
        self._made = 0

    def __len__(self) -> int:
        """Return how many files are left."""
        return len(self._files)

    def learn(self, size: int, chunks: int) -> None:
        """Add the number of chunks of a parsed bundle with this many bytes."""
        self._bytes += size
        self._chunks += chunks

    def next(self) -> Bundle | None:
        """Return the next bundle, or None if no files are left."""
        if not self._files:
            return None
        density = (self._chunks + FIRST_BYTES * FIRST_CHUNKS_A_BYTE) / (self._bytes + FIRST_BYTES)
        # In powers of two, so that a run after a crash most likely makes the same bundles, and finds their results in
        # Prefect.
        density = 2.0 ** round(math.log2(density))
        files: list[SourceFile] = []
        expected = 0.0
        while self._files and len(files) < MAX_FILES:
            more = 1.0 + self._files[-1].size * density
            # A single file may be larger than a bundle should be; it is not divided.
            if files and expected + more > self._wanted:
                break
            files.append(self._files.pop())
            expected += more
        self._made += 1
        paths = frozenset(file.path for file in files)
        return Bundle(self._made, self._source, tuple(files), paths & self._again)
