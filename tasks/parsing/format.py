"""What the project must know of a document format: how its files are named and read, by which version of its reader."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect_ollama.tasks.parsing.options import ParseOptions
from prefect_ollama.tasks.parsing.sandbox import ExtraTime


class DocumentFormat(ABC):
    """The parent's half of a format; the other half is the module that reads its files in the sandbox.

    Attributes:
        suffixes: What the names of its files end in, in lower case (".pdf").
        version: Version of its reader, from 1 on. Raise it when the same file comes out otherwise: `ingest --reread`
            then reads unchanged files again.
        module: Full name of the module that reads its files in the child (`sandbox.file_reader`).
    """

    suffixes: tuple[str, ...]
    version: int
    module: str

    @abstractmethod
    def request(self, path: Path, options: ParseOptions) -> dict[str, Any]:
        """Return what its reader is told of a file, as JSON can hold it."""

    def setup(self, options: ParseOptions) -> dict[str, Any]:
        """Return what its reader is made with, before the child gives up its rights. Another needs another child."""
        return {}

    def extra(self, options: ParseOptions) -> ExtraTime | None:
        """Return the time for work on a file after all pages were read; None where there is no such work."""
        return None

    def environment(self) -> Mapping[str, str]:
        """Return variables that its reader needs."""
        return {}
