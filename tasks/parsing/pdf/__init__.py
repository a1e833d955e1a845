"""Reading PDF: from MuPDF's lines to pages with headings, paragraphs and tables."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.parsing.pdf.format import PDF
else:
    __getattr__, __dir__ = lazy_exports(__name__, __file__)
