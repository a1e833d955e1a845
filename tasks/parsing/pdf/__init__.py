"""Reading PDF: from MuPDF's lines to pages with headings, paragraphs and tables."""

from typing import TYPE_CHECKING

from prefect_ollama.blocks.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from prefect_ollama.tasks.parsing.pdf import mupdf
    from prefect_ollama.tasks.parsing.pdf.assembly import Reading, from_journal
    from prefect_ollama.tasks.parsing.pdf.page_text import Pages
    from prefect_ollama.tasks.parsing.pdf.reader import Reader

__all__ = ["Pages", "Reader", "Reading", "from_journal", "mupdf"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "": ("mupdf",),
            "assembly": ("Reading", "from_journal"),
            "page_text": ("Pages",),
            "reader": ("Reader",),
        },
    )
