"""The interface of a document format: suffixes of its files, the module that reads them, and its version."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect_ollama.tasks.parsing.options import ParseOptions
from prefect_ollama.tasks.parsing.sandbox import ExtraTime


class DocumentFormat(ABC):
    """The parent's half of a format. The part in the sandbox is the module that reads the files.

    Attributes:
        suffixes: Suffixes of its file names, in lower case (".pdf").
        version: Version of its reader, from 1 on. Raise it when the reader returns another document for the same file;
            `ingest --reread` then reads unchanged files again.
        module: Full name of the module that reads its files in the child (`sandbox.file_reader`).
    """

    suffixes: tuple[str, ...]
    version: int
    module: str

    @abstractmethod
    def request(self, path: Path, options: ParseOptions) -> dict[str, Any]:
        """Return the options with which its reader reads a file, as values for JSON."""

    def setup(self, options: ParseOptions) -> dict[str, Any]:
        """Return the argument of `make_reader`, which the child calls before it gives up its rights.

        If it changes, a new child is started.
        """
        return {}

    def extra(self, options: ParseOptions) -> ExtraTime | None:
        """Return the time for extra work on a file after all pages were read; None if there is no such work."""
        return None

    def environment(self) -> Mapping[str, str]:
        """Return environment variables that its reader needs."""
        return {}
