"""Reading documents: any file is read within its limits or refused by name and reason, and harms no other.

Needs no Prefect. The parser for PDF is `Parser`; `DocumentParser` is all the rest of the project asks of one.
"""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.parsing.document import (
        Block,
        Box,
        DocumentParser,
        Metadata,
        Page,
        ParsedDocument,
        Problem,
    )
    from prefect_ollama.tasks.parsing.dropped import DroppedLine
    from prefect_ollama.tasks.parsing.errors import REMEDIES
    from prefect_ollama.tasks.parsing.options import ParseOptions
    from prefect_ollama.tasks.parsing.parser import PARSER_VERSION, Parser

__all__ = [
    "PARSER_VERSION",
    "REMEDIES",
    "Block",
    "Box",
    "DocumentParser",
    "DroppedLine",
    "Metadata",
    "Page",
    "ParseOptions",
    "ParsedDocument",
    "Parser",
    "Problem",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "document": ("Block", "Box", "DocumentParser", "Metadata", "Page", "ParsedDocument", "Problem"),
            "dropped": ("DroppedLine",),
            "errors": ("REMEDIES",),
            "options": ("ParseOptions",),
            "parser": ("PARSER_VERSION", "Parser"),
        },
    )
