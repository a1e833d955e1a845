"""Reading documents: any file is read within its limits or refused by name and reason, and harms no other.

Needs no Prefect. The parser for PDF is `Parser`; `DocumentParser` is all the rest of the project asks of one.
"""

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
from prefect_ollama.tasks.parsing.options import ParseOptions
from prefect_ollama.tasks.parsing.parser import PARSER_VERSION, Parser
from prefect_ollama.tasks.parsing.refusals import REMEDIES

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
