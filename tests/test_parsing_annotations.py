"""Content of a file besides the drawing of its pages: comments are read, and content that is not read is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pymupdf
import pytest

from prefect_ollama.tasks.chunking import chunk_document
from prefect_ollama.tasks.parsing import ParsedDocument, Parser
from prefect_ollama.tasks.parsing.document import Page
from prefect_ollama.tasks.parsing.pdf._annotations import not_on_pages
from prefect_ollama.tasks.parsing.pdf._layout import Comment, Piece, RawPage
from prefect_ollama.tasks.parsing.pdf.assembly import Reading, from_journal
from prefect_ollama.tasks.parsing.pdf.journal import OCR, OPENED, PAGE, UNREADABLE


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


Draw = Callable[[pymupdf.Document, pymupdf.Page], object]


@pytest.fixture
def read(parser: Parser, tmp_path: Path) -> Callable[[Draw], ParsedDocument]:
    def read(draw: Draw) -> ParsedDocument:
        path = tmp_path / "made.pdf"
        with pymupdf.open() as document:
            page = document.new_page(width=600, height=800)
            page.insert_text((50, 60), "Minutes of the harbour board.", fontsize=11)
            draw(document, page)
            document.save(path)
        return parser.parse(path)

    return read


Read = Callable[[Draw], ParsedDocument]


def comments(document: ParsedDocument) -> list[str]:
    return [block.text for page in document.pages for block in page.blocks if block.kind == "comment"]


def noted(annotation: pymupdf.Annot, content: str, author: str = "") -> None:
    annotation.set_info(content=content, title=author)
    annotation.update()


def field(page: pymupdf.Page, name: str, value: str, y: float, flags: int = 0) -> None:
    widget = pymupdf.Widget()
    widget.field_name, widget.field_value = name, value
    widget.field_type, widget.field_flags = pymupdf.PDF_WIDGET_TYPE_TEXT, flags
    widget.rect = pymupdf.Rect(50, y, 300, y + 20)
    page.add_widget(widget)


def test_comments_of_every_kind_are_read_at_the_end_of_their_page(read: Read) -> None:
    def draw(document: pymupdf.Document, page: pymupdf.Page) -> None:
        noted(page.add_highlight_annot((50, 50, 200, 65)), "About pilotage\nfees", "Ann")
        noted(page.add_underline_annot((50, 50, 200, 65)), "Underlined remark")
        noted(page.add_strikeout_annot((50, 50, 200, 65)), "Struck remark")
        noted(page.add_squiggly_annot((50, 50, 200, 65)), "Wavy remark")
        note = page.add_text_annot((300, 100), "Sticky remark")
        reply = page.add_text_annot((300, 100), "Reply to it")
        document.xref_set_key(reply.xref, "IRT", f"{note.xref} 0 R")
        noted(page.add_rect_annot((300, 300, 350, 350)), "Framed remark")
        noted(page.add_caret_annot((300, 400)), "Inserted remark")
        noted(page.add_stamp_annot((300, 450, 400, 500)), "Stamped remark")
        noted(page.add_ink_annot([[(300, 600), (320, 620), (330, 610)]]), "Drawn remark")

    document = read(draw)
    assert comments(document) == [
        "Comment by Ann: About pilotage fees",
        *(f"Comment: {kind} remark" for kind in ("Underlined", "Struck", "Wavy", "Sticky")),
        "Comment: Reply to it",
        *(f"Comment: {kind} remark" for kind in ("Framed", "Inserted", "Stamped", "Drawn")),
    ]
    assert document.pages[0].blocks[0].text == "Minutes of the harbour board."
    box = next(block.box for block in document.pages[0].blocks if block.kind == "comment")
    assert 40 < box.x0 < box.x1 < 210
    chunks = " ".join(chunk.text for chunk in chunk_document(document))
    assert "Comment by Ann: About pilotage fees" in chunks
    assert document.problems == ()


def test_what_the_page_shows_of_annotations_is_read_once(read: Read) -> None:
    def draw(document: pymupdf.Document, page: pymupdf.Page) -> None:
        page.add_freetext_annot((300, 200, 500, 240), "Words in a box")
        field(page, "owner", "Ludovika Bernstein", 300)

    document = read(draw)
    whole = " ".join(block.text for page in document.pages for block in page.blocks)
    assert (whole.count("Words in a box"), whole.count("Ludovika Bernstein")) == (1, 1)
    assert comments(document) == []


def test_values_of_fields_that_the_page_does_not_show_are_read_but_no_passwords(read: Read) -> None:
    def draw(document: pymupdf.Document, page: pymupdf.Page) -> None:
        field(page, "owner", "Bernstein", 300)
        field(page, "secret", "hunter2", 400, pymupdf.PDF_TX_FIELD_IS_PASSWORD)
        for widget in page.widgets():
            # The field is far outside of the page: its value is not drawn.
            document.xref_set_key(widget.xref, "Rect", "[5000 5000 5100 5020]")

    document = read(draw)
    assert comments(document) == ["Field owner: Bernstein"]


def test_boxes_that_are_checked_are_read_with_what_a_reader_calls_them(read: Read) -> None:
    def draw(document: pymupdf.Document, page: pymupdf.Page) -> None:
        for i, (name, label, state) in enumerate(
            (("c1", "Insured against fire", True), ("flood", "", True), ("storm", "", False))
        ):
            widget = pymupdf.Widget()
            widget.field_name, widget.field_type = name, pymupdf.PDF_WIDGET_TYPE_CHECKBOX
            widget.field_label, widget.field_value = label, state
            widget.rect = pymupdf.Rect(50, 300 + 30 * i, 64, 314 + 30 * i)
            page.add_widget(widget)

    assert comments(read(draw)) == ["Field Insured against fire: checked", "Field flood: checked"]


def test_attached_files_are_named_and_the_file_is_whole(read: Read) -> None:
    def draw(document: pymupdf.Document, page: pymupdf.Page) -> None:
        document.embfile_add("one", b"1", filename="contract.pdf")
        document.embfile_add("two", b"2", filename="bill\u202efdp.exe")
        for xref in range(1, document.xref_length()):
            if (
                "billfdp" in (name := document.xref_get_key(xref, "UF")[1].replace("\u202e", ""))
                or "exe" in name
            ):
                document.xref_set_key(xref, "UF", pymupdf.get_pdf_str("bill\u202efdp.exe"))
        page.add_file_annot((300, 300), b"3", "plan.xlsx")

    (problem,) = read(draw).problems
    assert (problem.kind, problem.unread, problem.page) == ("attachments", False, None)
    assert problem.reason == "3 attached files were not read: contract.pdf, billfdp.exe, plan.xlsx."
    assert "ingest" in problem.remedy


def test_a_portfolio_is_not_read_whole(read: Read) -> None:
    def draw(document: pymupdf.Document, page: pymupdf.Page) -> None:
        document.embfile_add("one", b"1", filename="contract.pdf")
        document.xref_set_key(document.pdf_catalog(), "Collection", "<</Type/Collection>>")

    (problem,) = read(draw).problems
    assert (problem.kind, problem.unread) == ("portfolio", True)
    assert problem.reason == "The file is a portfolio; only its cover was read, and not: contract.pdf."


def test_hidden_layers_and_hidden_comments_are_named(read: Read) -> None:
    def draw(document: pymupdf.Document, page: pymupdf.Page) -> None:
        page.insert_text((50, 500), "Text of the draft", oc=document.add_ocg("Draft", on=False))
        page.insert_text((50, 600), "Text that shows", oc=document.add_ocg("Shown", on=True))
        annotation = page.add_text_annot((300, 100), "Not for you")
        annotation.set_flags(pymupdf.PDF_ANNOT_IS_HIDDEN)

    document = read(draw)
    assert [(each.kind, each.reason, each.unread) for each in document.problems] == [
        ("layers", "1 hidden layer was not read: Draft.", False),
        ("hidden-comments", "1 hidden comment was not read.", False),
    ]
    assert comments(document) == []


@pytest.mark.parametrize("dynamic", [False, True])
def test_forms_of_another_kind_are_named(read: Read, dynamic: bool) -> None:
    def draw(document: pymupdf.Document, page: pymupdf.Page) -> None:
        document.xref_set_key(document.pdf_catalog(), "AcroForm", "<</XFA[(a)(b)]/Fields[]>>")
        if dynamic:
            document.xref_set_key(document.pdf_catalog(), "NeedsRendering", "true")

    (problem,) = read(draw).problems
    assert (problem.kind, problem.unread) == ("xfa", dynamic)


def test_many_names_are_counted() -> None:
    (problem,) = not_on_pages({"files": [f"{number}.pdf" for number in range(500)]}, [])
    assert problem.reason.startswith("500 attached files were not read: 0.pdf, 1.pdf, ")
    assert problem.reason.endswith(" and 480 more.")


def _read_by_ocr(why: str, *before: Piece, after: str) -> Page:
    comment = Comment(1, 2, 3, 4, "Comment: a remark")
    reading = Reading()
    reading.take(OPENED, 0, {"pages": 1, "repaired": False})
    reading.take(PAGE, 0, RawPage(0, 600, 800, list(before), comments=[comment]))
    reading.take(UNREADABLE, 0, {"why": why})
    if after:
        reading.take(OCR, 0, RawPage(0, 600, 800, [_piece(after, 300)], ocr=True))
    (page,) = reading.make().pages
    return page


def _piece(text: str, y: int) -> Piece:
    return Piece(500, y * 10, 3000, y * 10 + 120, 100, False, text, 1)


def test_a_number_stamped_on_a_scan_stays_where_ocr_misreads_it() -> None:
    page = _read_by_ocr(
        "scanned", _piece("ABC-000123", 700), _piece("A quay", 300), after="A quay. A8C-OOO123"
    )
    assert [block.text for block in page.blocks] == ["A quay. A8C-OOO123", "ABC-000123", "Comment: a remark"]


def test_of_a_garbled_page_that_ocr_does_not_read_the_lines_stay_that_say_something() -> None:
    page = _read_by_ocr(
        "garbled", _piece("\ue123\ue124\ue125 \ue126", 100), _piece("Dues of the quay", 300), after=""
    )
    assert [block.text for block in page.blocks] == ["Dues of the quay", "Comment: a remark"]


def test_comments_travel_in_the_journal() -> None:
    comment = Comment(1, 2, 3, 4, "Comment: a remark")
    page = RawPage(0, 600, 800, [_piece("A quay", 300)], comments=[comment], files=["a.pdf"], hidden=2)
    held = {name: getattr(page, name) for name in RawPage.__slots__}
    held["pieces"] = [{name: getattr(piece, name) for name in Piece.__slots__} for piece in page.pieces]
    assert from_journal(PAGE, {**held, "comments": [list(comment)]}) == page
