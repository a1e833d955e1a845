"""Pages with text that is not upright: sideways tables, stamps in the margin, watermarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pymupdf
import pytest

from prefect_ollama.tasks.parsing import ParsedDocument, Parser

Read = Callable[..., ParsedDocument]
ROWS = (
    ("Item", "Quantity", "Price per unit", "Supplier"),
    ("Lamp oil", "120", "4.50", "Halloway and Sons"),
    ("Hemp rope", "75", "12.00", "Ostrander Mill"),
    ("Tar", "310", "2.25", "Bernstein Works"),
)


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


@pytest.fixture
def read(parser: Parser, tmp_path: Path) -> Read:
    def read(draw: Callable[[pymupdf.Page], object], pages: int = 1) -> ParsedDocument:
        path = tmp_path / "turned.pdf"
        with pymupdf.open() as document:
            for _ in range(pages):
                draw(document.new_page(width=600, height=800))
            document.save(path)
        return parser.parse(path)

    return read


def table(angle: int) -> Callable[[pymupdf.Page], None]:
    """Draw a table turned counterclockwise, its first row at the side that its letters have above them."""
    place: dict[int, Callable[[int, int], tuple[int, int]]] = {
        0: lambda along, down: (60 + along, 80 + down),
        90: lambda along, down: (80 + down, 740 - along),
        180: lambda along, down: (540 - along, 720 - down),
        270: lambda along, down: (520 - down, 60 + along),
    }

    def draw(page: pymupdf.Page) -> None:
        for i, row in enumerate(ROWS):
            for k, cell in enumerate(row):
                page.insert_text(place[angle](k * 130, i * 24), cell, fontsize=11, rotate=angle)
        if angle % 180:
            page.insert_text((300, 790), "7", fontsize=9)

    return draw


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_a_table_is_read_whichever_way_it_is_turned(read: Read, angle: int) -> None:
    (page,) = read(table(angle)).pages
    (text,) = [block.text for block in page.blocks if block.kind == "table"]
    header, _, *rows = text.split("\n")
    assert [header, *rows] == [f"| {' | '.join(row)} |" for row in ROWS]
    assert (page.width, page.height) == ((800, 600) if angle % 180 else (600, 800))


def test_the_picture_of_a_sideways_page_is_upright(read: Read, parser: Parser, tmp_path: Path) -> None:
    (page,) = read(table(90)).pages
    picture = pymupdf.Pixmap(parser.picture(tmp_path / "turned.pdf", 1, dpi=72).png)
    assert (picture.width, picture.height) == (page.width, page.height)


def watermark(page: pymupdf.Page) -> None:
    page.insert_text((60, 100), f"On tide gauges, part {page.number}", fontsize=18)
    for i in range(9):
        page.insert_text((60, 140 + 14 * i), "Tide gauges are read twice a day by the keeper.", fontsize=11)
    middle = pymupdf.Point(150, 600)
    page.insert_text(middle, "DRAFT COPY", fontsize=60, morph=(middle, pymupdf.Matrix(45)))
    page.insert_text((30, 600), "Library of the harbour", fontsize=16, rotate=90)


def test_watermarks_and_stamps_are_no_headings(read: Read) -> None:
    document = read(watermark)
    assert document.metadata.title == "On tide gauges, part 0"
    kinds = {block.text: block.kind for page in document.pages for block in page.blocks}
    assert kinds["DRAFT COPY"] == kinds["Library of the harbour"] == "paragraph"


def test_a_watermark_on_every_page_is_kept_once(read: Read) -> None:
    pages = read(watermark, 4).pages
    for text in ("DRAFT COPY", "Library of the harbour"):
        assert [any(block.text == text for block in page.blocks) for page in pages] == [True] + 3 * [False]
        assert all(text in page.heads for page in pages[1:])
