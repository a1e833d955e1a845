"""Turns typeset pages into the committed file: metadata, outline, font subsets, the same bytes each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pymupdf

AUTHOR = "prefect-ollama samples"
DATE = "D:20260101120000Z"


@dataclass(frozen=True, slots=True)
class Meta:
    """A document's own account of itself."""

    title: str
    subject: str
    keywords: str = ""
    language: str = "en"
    author: str = AUTHOR


def finish(document: pymupdf.Document, meta: Meta, outline: Sequence[list[int | str]] = ()) -> bytes:
    """Return the bytes of the finished file; the document is closed."""
    document.set_metadata(
        {
            "title": meta.title,
            "author": meta.author,
            "subject": meta.subject,
            "keywords": meta.keywords,
            "creator": "samples/make",
            "producer": "PyMuPDF",
            "creationDate": DATE,
            "modDate": DATE,
        }
    )
    document.set_language(meta.language)
    if outline:
        document.set_toc(_nested(outline))
    document.subset_fonts()
    data: bytes = document.tobytes(garbage=4, deflate=True, deflate_fonts=True, no_new_id=True, use_objstms=1)
    document.close()
    return data


def _nested(outline: Sequence[list[int | str]]) -> list[list[int | str]]:
    """Outline levels may rise by one at a time only; a heading that skips a level is drawn in."""
    rows: list[list[int | str]] = []
    for level, title, page in outline:
        ceiling = int(rows[-1][0]) + 1 if rows else 1
        rows.append([min(int(level), ceiling), title, page])
    return rows
