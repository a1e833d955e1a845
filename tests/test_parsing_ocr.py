"""Scanned pages: read by OCR where Tesseract's data is there, else reported with the remedy; never silently empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pymupdf
import pytest

from prefect_ollama.tasks.parsing import ParsedDocument, ParseOptions, Parser

SAMPLES = Path(__file__).parent.parent / "samples"
SCAN = SAMPLES / "lamp-scan.pdf"


def has_english() -> bool:
    try:
        return (Path(pymupdf.get_tessdata()) / "eng.traineddata").is_file()
    except Exception:
        return False


needs_english = pytest.mark.skipif(not has_english(), reason="apt-get install tesseract-ocr-eng")


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A page of text, two scanned ones, a page of text."""
    path = tmp_path / "mixed.pdf"
    with pymupdf.open() as document, pymupdf.open(SCAN) as scan:
        document.new_page().insert_text((72, 72), "The first page is text.")
        document.insert_pdf(scan)
        document.new_page().insert_text((72, 72), "The last page is text.")
        document.save(path)
    return path


def text_of(document: ParsedDocument) -> str:
    return " ".join(block.text for page in document.pages for block in page.blocks)


def test_missing_language_data_is_reported_for_each_page_with_the_command_that_installs_it(
    parser: Parser, mixed: Path, tmp_path: Path
) -> None:
    options = ParseOptions(ocr_languages=("eng", "chi_sim"), tessdata=str(tmp_path))
    document = parser.parse(mixed, options)
    assert document.unread_pages == (2, 3)
    assert {problem.kind for problem in document.problems} == {"ocr-language"}
    for problem in document.problems:
        assert problem.remedy.endswith("apt-get install tesseract-ocr-eng tesseract-ocr-chi-sim")
        assert "eng, chi_sim" in problem.reason
    assert text_of(document) == "The first page is text. The last page is text."
    assert [page.number for page in document.pages] == [1, 2, 3, 4]


def test_with_ocr_off_scanned_pages_are_reported(parser: Parser, mixed: Path) -> None:
    document = parser.parse(mixed, ParseOptions(ocr="off"))
    assert document.unread_pages == (2, 3)
    assert {problem.kind for problem in document.problems} == {"ocr-off"}
    assert document.ocr_seconds == 0


def test_broken_language_data_is_reported_and_the_text_stays(
    parser: Parser, mixed: Path, tmp_path: Path
) -> None:
    (tmp_path / "eng.traineddata").write_bytes(b"no data at all")
    document = parser.parse(mixed, ParseOptions(tessdata=str(tmp_path)))
    assert document.unread_pages == (2, 3)
    assert all(problem.reason for problem in document.problems)
    assert text_of(document) == "The first page is text. The last page is text."
    assert text_of(parser.parse(mixed, ParseOptions(ocr="off"))).startswith("The first page")


def test_a_stamp_does_not_make_a_scan_a_page_of_text(parser: Parser, tmp_path: Path) -> None:
    path = tmp_path / "stamped.pdf"
    with pymupdf.open(SCAN) as document:
        for page in document:
            page.insert_text((30, 20), "Downloaded from the archive on 3 May 2024", fontsize=7)
        document.save(path)
    assert parser.parse(path, ParseOptions(ocr="off")).unread_pages == (1, 2)


def test_a_small_picture_is_no_scan(parser: Parser, tmp_path: Path) -> None:
    path = tmp_path / "picture.pdf"
    with pymupdf.open() as document:
        pixmap = pymupdf.Pixmap(pymupdf.csRGB, pymupdf.IRect(0, 0, 50, 50))
        document.new_page().insert_image((100, 100, 200, 200), pixmap=pixmap)
        document.save(path)
    assert parser.parse(path, ParseOptions(ocr="off")).problems == ()


def test_garbled_text_is_not_kept(parser: Parser, tmp_path: Path) -> None:
    path = tmp_path / "garbled.pdf"
    with pymupdf.open() as document:
        page = document.new_page()
        page.insert_htmlbox((50, 50, 500, 300), "<p>" + "\ue123\ue124 \ue125\ue126" * 40 + "</p>")
        document.save(path)
    document = parser.parse(path, ParseOptions(ocr="off"))
    assert document.unread_pages == (1,)
    assert "garbled" in document.problems[0].reason
    assert document.dropped["garbled"] > 100
    assert text_of(document) == ""


@needs_english
def test_scanned_pages_are_read_by_ocr(parser: Parser, mixed: Path) -> None:
    document = parser.parse(mixed)
    assert document.problems == ()
    assert document.ocr_pages == (2, 3)
    assert [page.ocr for page in document.pages] == [False, True, True, False]
    assert document.ocr_seconds > 0
    found = text_of(document)
    assert "sperm oil from the whale" in found.lower()
    assert found.endswith("The last page is text.")


@pytest.mark.slow
@needs_english
def test_ocr_is_bounded_in_pages_and_in_time(parser: Parser, mixed: Path) -> None:
    some = parser.parse(mixed, ParseOptions(ocr_max_pages=1))
    assert (some.ocr_pages, some.unread_pages) == ((2,), (3,))
    assert [problem.kind for problem in some.problems] == ["ocr-limit"]
    none = parser.parse(mixed, ParseOptions(ocr_seconds=0.01))
    assert len(none.unread_pages) >= 1
    assert {problem.kind for problem in none.problems} <= {"ocr-limit", "cpu-time", "wall-time"}
    assert text_of(none).startswith("The first page is text.")
