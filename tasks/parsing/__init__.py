"""Reading documents: any file is read within its limits or refused by name and reason, and harms no other.

Needs no Prefect. `DocumentParser` is the interface for the rest of the project, `Parser` implements it in a sandbox,
and `FORMATS` lists the formats.
"""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.parsing._split_between import split_between
    from prefect_ollama.tasks.parsing.document import (
        Block,
        Box,
        DocumentParser,
        Metadata,
        Page,
        ParsedDocument,
        Problem,
    )
    from prefect_ollama.tasks.parsing.dropped import RULE_NAMES, DroppedLine
    from prefect_ollama.tasks.parsing.errors import REMEDIES
    from prefect_ollama.tasks.parsing.format import DocumentFormat
    from prefect_ollama.tasks.parsing.formats import FORMATS, Parsers, format_of
    from prefect_ollama.tasks.parsing.markdown import to_markdown
    from prefect_ollama.tasks.parsing.options import FilePassword, ParseOptions
    from prefect_ollama.tasks.parsing.page_picture import PagePicture, Quoted
    from prefect_ollama.tasks.parsing.parser import Parser
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
