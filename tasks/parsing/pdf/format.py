"""The format PDF, for the parent process. This module imports no code that reads files, which only the child does."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from prefect_ollama.tasks.parsing.errors import MORE_OCR_TIME
from prefect_ollama.tasks.parsing.format import DocumentFormat
from prefect_ollama.tasks.parsing.options import ParseOptions
from prefect_ollama.tasks.parsing.sandbox import ExtraTime

# Options that the child needs. Limits of memory and time are applied by the sandbox.
_REQUESTED: Final = (
    *("max_pages", "allow_partial", "tables", "running_heads"),
    *("ocr", "ocr_languages", "ocr_dpi", "ocr_max_pages", "ocr_seconds"),
)
# Tesseract's own variable for the folder of its language data.
_TESSERACT_DATA: Final = "TESSDATA_PREFIX"


class PdfFormat(DocumentFormat):
    """Reads PDF with MuPDF, and pages that are pictures of text with Tesseract."""

    suffixes = (".pdf",)
    version = 8
    module = "prefect_ollama.tasks.parsing.pdf.worker"

    def request(self, path: Path, options: ParseOptions) -> dict[str, Any]:
        """Return the options that concern PDF, with the passwords that may open the file."""
        return {
            **{name: getattr(options, name) for name in _REQUESTED},
            "passwords": options.passwords_for(path),
        }

    def setup(self, options: ParseOptions) -> dict[str, Any]:
        """Return whether Tesseract may be needed, and where its language data is; empty if it is looked for."""
        return {"ocr": options.ocr != "off", "tessdata": options.tessdata}

    def extra(self, options: ParseOptions) -> ExtraTime | None:
        """Return the time for OCR."""
        return ExtraTime(
            options.ocr_seconds,
            "ocr-limit",
            f"OCR of this file has taken {options.ocr_seconds:g} s",
            MORE_OCR_TIME,
        )

    def environment(self) -> Mapping[str, str]:
        """Return Tesseract's variables: one thread, because every core has a parser of its own, and its data."""
        found = {_TESSERACT_DATA: os.environ[_TESSERACT_DATA]} if _TESSERACT_DATA in os.environ else {}
        return {"OMP_THREAD_LIMIT": "1", **found}


PDF: Final = PdfFormat()
