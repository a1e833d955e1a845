"""Parsing of sound files: what is read, in which order, and what is reported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pymupdf
import pytest

from prefect_ollama.tasks.chunking import ChunkOptions, chunk_document
from prefect_ollama.tasks.parsing import Parser


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


def write_pdf(path: Path, pages: list[list[tuple[float, str]]]) -> Path:
    """Write a PDF with lines given as (type size, text), one below the other."""
    with pymupdf.open() as document:
        for lines in pages:
            page, y = document.new_page(), 90.0
            for size, text in lines:
                page.insert_text((72, y), text, fontsize=size)
                y += 1.3 * size
        document.save(path)
    return path


def test_reads_text_headings_and_metadata_and_cuts_it(parser: Parser, tmp_path: Path) -> None:
    prose = [(11.0, f"Sentence number {i} says something about the tides of the sea.") for i in range(30)]
    path = write_pdf(tmp_path / "a.pdf", [[(20, "One"), *prose], [(20, "Two"), *prose]])
    document = parser.parse(path)
    assert document.page_count == 2
    assert [b.text for p in document.pages for b in p.blocks if b.kind == "heading"] == ["One", "Two"]
    assert document.problems == ()
    chunks = chunk_document(document, ChunkOptions())
    assert [c.position for c in chunks] == list(range(len(chunks)))
    assert {c.heading for c in chunks} == {"One", "Two"}
    assert all(c.tokens <= 256 for c in chunks)
