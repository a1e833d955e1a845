"""The formats that can be read, and a parser for each. To add a format, add it to `FORMATS`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from prefect_ollama.tasks.parsing.format import DocumentFormat
from prefect_ollama.tasks.parsing.parser import Parser
from prefect_ollama.tasks.parsing.pdf import PDF

# The first format also reads files with any other suffix, because a user may name a file with any suffix.
FORMATS: Final[Sequence[DocumentFormat]] = (PDF,)


def format_of(path: str | Path, formats: Sequence[DocumentFormat] = FORMATS) -> DocumentFormat:
    """Return the format of a file, by its name."""
    suffix = Path(path).suffix.lower()
    return next((each for each in formats if suffix in each.suffixes), formats[0])


class Parsers:
    """A parser for each format, made for the first file of the format. Not thread-safe.

    Args:
        formats: The formats.
    """

    def __init__(self, formats: Sequence[DocumentFormat] = FORMATS) -> None:
        self._formats = formats
        self._parsers: dict[str, Parser] = {}

    def parser_of(self, path: str | Path) -> Parser:
        """Return the parser of a file."""
        found = format_of(path, self._formats)
        if found.module not in self._parsers:
            self._parsers[found.module] = Parser(found)
        return self._parsers[found.module]

    def close(self) -> None:
        """Close the parsers; they may be used again."""
        for parser in self._parsers.values():
            parser.close()
