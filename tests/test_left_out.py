"""What parsing leaves out of a file reaches its part of the report, and says why a file has no text."""

from __future__ import annotations

from pathlib import Path

import pymupdf

from prefect_ollama.blocks.documents import FAILED, PARTIAL, STORED
from prefect_ollama.tasks.chunking import ChunkOptions
from prefect_ollama.tasks.parse import ChunkedDocument, parse_bundle
from prefect_ollama.tasks.parsing import ParseOptions
from prefect_ollama.tasks.planning import Bundle, ChunkingPlan, SourceFile
from prefect_ollama.tasks.prefect_state.task_options import Opaque
from prefect_ollama.tasks.reporting.ingest_report import FileReport


def chunked(path: Path, options: ParseOptions | None = None) -> ChunkedDocument:
    status = path.stat()
    file = SourceFile(str(path), path.name, status.st_size, status.st_mtime_ns)
    bundle = Bundle(1, str(path.parent), (file,))
    made = parse_bundle.fn(Opaque(bundle), Opaque(ChunkingPlan(options or ParseOptions(), ChunkOptions())))
    (document,) = made.content.documents
    return document


def write(path: Path, pages: int, head: str = "") -> pymupdf.Document:
    document = pymupdf.open()
    for number in range(pages):
        page = document.new_page(width=600, height=800)
        if head:
            page.insert_text((60, 40), head, fontsize=8)
        page.insert_text((60, 120), f"Sheet {number} tells of tar and rope.", fontsize=11)
    document.save(path)
    return document


def test_dropped_lines_and_notes_are_part_of_the_report_of_a_file_that_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    document = write(path, 5, "Report of the harbour")
    document.embfile_add("one", b"1", filename="plan.xlsx")
    document.save(path)
    found = chunked(path)
    assert found.document.status == STORED
    report = FileReport.of(found.document, "stored", found.left_out)
    assert report.dropped_lines == (("header", "Report of the harbour", 4),)
    assert report.notes[0].startswith("1 attached file was not read: plan.xlsx. Save what is attached")
    kept = chunked(path, ParseOptions(running_heads="keep"))
    assert kept.left_out.lines == ()
    assert sum("Report of the harbour" in chunk.text for chunk in kept.chunks) == len(kept.chunks)


def test_a_portfolio_is_partial(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    document = write(path, 1)
    document.embfile_add("one", b"1", filename="plan.xlsx")
    document.xref_set_key(document.pdf_catalog(), "Collection", "<</Type/Collection>>")
    document.save(path)
    row = chunked(path).document
    assert (row.status, row.kind) == (PARTIAL, "portfolio")
    assert "plan.xlsx" in row.reason


def test_a_file_of_nothing_but_characters_without_a_meaning_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    with pymupdf.open() as document:
        document.new_page().insert_htmlbox((50, 50, 500, 300), "<p>\ue123\ue124</p>")
        document.save(path)
    row = chunked(path).document
    assert (row.status, row.kind) == (FAILED, "no-text")
    assert row.reason == "it holds no text but 2 characters that show nothing or have no meaning."


def test_a_file_with_one_line_a_page_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    with pymupdf.open() as document:
        for number in range(50):
            document.new_page().insert_text(
                (50, 60), f"Ticket {7000 + number} admits one person.", fontsize=11
            )
        document.save(path)
    found = chunked(path)
    assert found.document.status == STORED
    whole = " ".join(chunk.text for chunk in found.chunks)
    assert all(f"Ticket {7000 + number} " in whole for number in range(50))


def test_pages_with_one_reason_are_named_together(tmp_path: Path) -> None:
    path = tmp_path / "scan.pdf"
    with pymupdf.open() as document:
        for number in range(4):
            page = document.new_page(width=600, height=800)
            if number == 2:
                page.insert_text((60, 120), "This sheet is text.")
            else:
                page.insert_image(
                    page.rect, pixmap=pymupdf.Pixmap(pymupdf.csRGB, pymupdf.IRect(0, 0, 60, 80))
                )
        document.save(path)
    row = chunked(path, ParseOptions(ocr="off")).document
    assert row.reason == "pages 1-2, 4: a picture of text that was not read by OCR: OCR is off."
