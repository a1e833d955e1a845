"""Text that is drawn several times on one spot is read once, in its place; what a reader sees twice is read twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pymupdf
import pytest

from prefect_ollama.tasks.parsing import ParsedDocument, Parser
from tests.cases import most_slow

BODY = "Body text in plain type follows here for good measure."
FONT = pymupdf.Font("helv")
Shift = tuple[float, float]
"""How far each copy stands from the one before, in points."""

SHIFTS = ((0, 0), (0.35, 0), (-0.5, 0.3), (1, 1), (1.5, 1.5))


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


@pytest.fixture
def read(parser: Parser, tmp_path: Path) -> Callable[[Callable[[pymupdf.Page], object]], ParsedDocument]:
    def read(draw: Callable[[pymupdf.Page], object]) -> ParsedDocument:
        path = tmp_path / "made.pdf"
        with pymupdf.open() as document:
            draw(document.new_page(width=600, height=800))
            document.save(path)
        return parser.parse(path)

    return read


Read = Callable[[Callable[[pymupdf.Page], object]], ParsedDocument]


def texts(document: ParsedDocument) -> list[str]:
    return [block.text for page in document.pages for block in page.blocks]


def drawn(
    page: pymupdf.Page,
    x: float,
    y: float,
    text: str,
    size: float,
    unit: str,
    times: int,
    shift: Shift,
    turned: bool = False,
) -> float:
    """Draw a text, each part of it so many times before the next; return its right edge."""
    parts = {"line": [text], "word": text.split(" "), "letter": list(text)}[unit]
    at = x
    for part in parts:
        for i in range(times if part != " " else 0):
            dx, dy = i * shift[0], i * shift[1]
            place = (x + dy, y - (at - x) - dx) if turned else (at + dx, y + dy)
            page.insert_text(place, part, fontsize=size, rotate=90 if turned else 0)
        at += FONT.text_length(part + " " * (unit == "word"), fontsize=size)
    return x + FONT.text_length(text, fontsize=size)


def title(page: pymupdf.Page, unit: str, times: int, shift: Shift) -> None:
    drawn(page, 50, 60, "Invoice number 20471 of the ill lantern works", 14, unit, times, shift)
    page.insert_text((50, 100), BODY)


def words_in_lines(page: pymupdf.Page, unit: str, times: int, shift: Shift) -> None:
    for row in range(4):
        y = 60 + 14 * row
        page.insert_text((50, y), "The total is ", fontsize=11)
        x = 50 + FONT.text_length("The total is ", fontsize=11)
        end = drawn(page, x, y, "4711 crowns", 11, unit, times, (0.7 * shift[0], 0.7 * shift[1]))
        page.insert_text((end, y), " and must be paid by noon of it", fontsize=11)


def table(page: pymupdf.Page, unit: str, times: int, shift: Shift) -> None:
    rows = [
        ["Ship", "Tons", "Built"],
        ["Fram", "402", "1892"],
        ["Gauss", "728", "1901"],
        ["Vega", "728", "728"],
    ]
    for r, row in enumerate(rows):
        for c, cell in enumerate(row):
            drawn(page, 60 + 120 * c, 100 + 22 * r, cell, 10, unit, 1 if r else times, shift)


def turned(page: pymupdf.Page, unit: str, times: int, shift: Shift) -> None:
    drawn(page, 80, 700, "Turned words of the ill side", 12, unit, times, shift, True)
    page.insert_text((150, 100), BODY)


def paragraph(page: pymupdf.Page, unit: str, times: int, shift: Shift) -> None:
    """All of a text, and then all of it again."""
    for i in range(times):
        for k in range(6):
            page.insert_text(
                (50 + i * shift[0], 60 + 14 * k + i * shift[1]),
                f"Line {k} of the harbour's book.",
                fontsize=11,
            )


@pytest.mark.parametrize("draw", [title, words_in_lines, table, turned, paragraph])
@pytest.mark.parametrize("unit", most_slow(["line", "word", "letter"], but=["word"]))
@pytest.mark.sampled(2)
def test_text_that_is_drawn_again_is_read_once_and_in_its_place(
    read: Read, draw: Callable[[pymupdf.Page, str, int, Shift], None], unit: str
) -> None:
    once = texts(read(lambda page: draw(page, unit, 1, (0, 0))))
    for times in (2, 3):
        for shift in SHIFTS:
            document = read(lambda page: draw(page, unit, times, shift))  # noqa: B023
            assert texts(document) == once, (times, shift)
            assert document.dropped.get("copy", 1) > 0


def test_outlines_and_shadows_of_other_colours_are_copies(read: Read) -> None:
    def draw(page: pymupdf.Page) -> None:
        page.insert_text((52, 62), "Shadowed title", fontsize=20, color=(0.7, 0.7, 0.7))
        page.insert_text((50, 60), "Shadowed title", fontsize=20)
        page.insert_text((50, 160), "Outlined title", fontsize=20, render_mode=0)
        page.insert_text((50, 160), "Outlined title", fontsize=20, render_mode=1)
        page.insert_text((50, 100), BODY)

    assert texts(read(draw)) == ["Shadowed title", BODY, "Outlined title"]


def test_what_a_reader_sees_twice_is_read_twice(read: Read) -> None:
    def draw(page: pymupdf.Page) -> None:
        page.insert_text(
            (50, 60), "It was very very ill ill, aabb 1122, II and III, committee, coffee.", fontsize=11
        )
        for k in range(3):
            page.insert_text((50, 120 + 14 * k), "The same line again and again.", fontsize=11)
        for r in range(4):
            for c in range(3):
                page.insert_text((60 + 120 * c, 300 + 22 * r), "728", fontsize=10)

    document = read(draw)
    assert "copy" not in document.dropped
    first, second, third = texts(document)
    assert first == "It was very very ill ill, aabb 1122, II and III, committee, coffee."
    assert second == " ".join(["The same line again and again."] * 3)
    assert third.count("728") == 12


def test_two_texts_over_each_other_are_both_read_whole(read: Read) -> None:
    def draw(page: pymupdf.Page) -> None:
        page.insert_text((50, 60), "Titel der Rechnung 4711", fontsize=12)
        page.insert_text((50, 60), "Title of the invoice 4712", fontsize=12)

    words = " ".join(texts(read(draw))).split()
    assert {"Titel", "der", "Rechnung", "4711", "Title", "of", "the", "invoice", "4712"} <= set(words)


def test_a_line_that_is_bold_by_its_copies_is_a_heading(read: Read) -> None:
    def draw(page: pymupdf.Page) -> None:
        for k in range(3):
            drawn(page, 50, 60 + 80 * k, f"Dues of quay {k}", 11, "line", 2, (0.35, 0))
            page.insert_textbox((50, 75 + 80 * k, 550, 130 + 80 * k), f"{BODY} " * 3, fontsize=11)

    headings = [b.text for page in read(draw).pages for b in page.blocks if b.kind == "heading"]
    assert headings == ["Dues of quay 0", "Dues of quay 1", "Dues of quay 2"]
