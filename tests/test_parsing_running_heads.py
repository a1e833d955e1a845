"""Running heads, feet and page numbers: what repeats is left out once it stands somewhere, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pymupdf
import pytest

from prefect_ollama.tasks.parsing import ParsedDocument, ParseOptions, Parser
from prefect_ollama.tasks.parsing.pdf._page_number import PageNumber, page_number

Line = tuple[float, float, str]
"""Left edge and baseline in points, text."""


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Write a PDF whose pages have a body of their own and the lines that a function gives for each."""

    def write(
        count: int, lines: Callable[[int], list[Line]], *, body: bool = True, size: float = 9, title: str = ""
    ) -> Path:
        path = tmp_path / "made.pdf"
        with pymupdf.open() as document:
            for i in range(count):
                page = document.new_page(width=600, height=800)
                for x, y, text in lines(i):
                    page.insert_text((x, y), text, fontsize=size)
                for k in range(8 if body else 0):
                    page.insert_text(
                        (60, 150 + 16 * k), f"Line {k} of sheet {i} tells of tar and rope.", fontsize=11
                    )
            document.set_metadata({"title": title})
            document.save(path)
        return path

    return write


def found(document: ParsedDocument) -> list[list[str]]:
    """The text of each page but its body."""
    return [[b.text for b in page.blocks if "of sheet" not in b.text] for page in document.pages]


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    "line",
    [
        lambda i: f"Invoice 2027-{i + 41:04d}",
        lambda i: f"Lot {i + 101}",
        lambda i: f"Lot {i + 1}",
        lambda i: f"Log of 2027-03-{i + 1:02d}",
        lambda i: f"Total due: {i * 37 + 11}.{i:02d} crowns",
        lambda i: f"Harbour office, {i + 1}. edition",
        lambda i: f"{i + 1}/2027",
        lambda i: f"Order of customer {('Quill', 'Bern')[i % 2]}",
        lambda i: f"Order of customer {('Quill', 'Bern', 'Ost', 'Hall')[i % 4]}",
        lambda i: f"Component QX-{i // 3 + 17}",
        lambda i: str(7000 + i),
        lambda i: str(2001 + i),
    ],
)
@pytest.mark.parametrize("count", [2, 12])
@pytest.mark.parametrize("y", [60, 770])
def test_a_line_that_tells_one_page_from_another_stays_on_every_page(
    parser: Parser, make: Callable[..., Path], line: Callable[[int], str], count: int, y: float
) -> None:
    document = parser.parse(make(count, lambda i: [(60, y, line(i))]))
    assert found(document) == [[line(i)] for i in range(count)]
    assert document.dropped == {}


@pytest.mark.parametrize(
    "line",
    [
        lambda i: f"Ticket {i + 7000} admits one person to the lighthouse on day {i + 1}.",
        lambda i: "This page is left blank on purpose",
        lambda i: f"Page {i + 1} of 30",
        lambda i: str(i + 1),
    ],
)
def test_a_page_with_nothing_but_such_a_line_keeps_it(
    parser: Parser, make: Callable[..., Path], line: Callable[[int], str]
) -> None:
    document = parser.parse(make(30, lambda i: [(60, 60, line(i))], body=False, size=11))
    assert found(document) == [[line(i)] for i in range(30)]
    assert document.dropped_lines == ()


@pytest.mark.parametrize(
    ("line", "count"),
    [
        (lambda i: f"Page {i + 1} of 12", 12),
        (lambda i: f"{i + 1} / 12", 12),
        (lambda i: f"- {i + 345} -", 12),
        (lambda i: f"Seite {i + 5}", 12),
        (lambda i: ("i", "ii", "iii", "iv", "v", "vi")[i], 6),
        (lambda i: f"Page {i + 1} of 2", 2),
        (lambda i: str(i + 1), 2),
        (lambda i: f"Page {i + 1} of 1", 1),
    ],
)
def test_page_numbers_are_left_out(
    parser: Parser, make: Callable[..., Path], line: Callable[[int], str], count: int
) -> None:
    document = parser.parse(make(count, lambda i: [(280, 780, line(i))]))
    assert found(document) == [[]] * count
    assert document.dropped_lines == (("page-number", line(0), count),)


def test_a_number_alone_on_one_page_of_two_may_be_anything(parser: Parser, make: Callable[..., Path]) -> None:
    document = parser.parse(make(2, lambda i: [(280, 780, "1")] if i == 0 else []))
    assert found(document) == [["1"], []]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("12", PageNumber(12)),
        ("Page 3 of 9", PageNumber(3, "", True, 9)),
        ("Confidential – page 3 of 9", PageNumber(3, "Confidential", True, 9)),
        ("Report of the harbour office | 17", PageNumber(17, "Report of the harbour office")),
        ("17 • Report of the harbour office", PageNumber(17, "Report of the harbour office")),
        ("第3页", PageNumber(3, "", True)),
        ("– xiv –", PageNumber(14)),
        ("Lot | 17", None),
        ("Lot 17", None),
        ("Number of the customer: | 17", None),
        ("Report of 2027-03-17", None),
        ("x" * 300 + " | 17", None),
    ],
)
def test_the_page_number_in_a_line(line: str, expected: PageNumber | None) -> None:
    assert page_number(line) == expected


def test_a_running_head_with_its_page_number_is_kept_once(parser: Parser, make: Callable[..., Path]) -> None:
    document = parser.parse(
        make(6, lambda i: [(60, 40, "Report of the harbour office"), (520, 40, f"{i + 3}")])
    )
    assert found(document) == [["Report of the harbour office 3"], *[[]] * 5]


def test_a_running_head_of_a_few_chinese_signs_is_known_with_its_page_number(
    parser: Parser, tmp_path: Path
) -> None:
    with pymupdf.open() as document:
        for i in range(6):
            page = document.new_page(width=600, height=800)
            page.insert_text((60, 40), "第四章插图", fontsize=9, fontname="china-s")
            page.insert_text((520, 40), str(i + 3), fontsize=9)
            for k in range(8):
                page.insert_text((60, 150 + 16 * k), f"Line {k} of sheet {i} tells of tar.", fontsize=11)
        document.save(tmp_path / "chinese.pdf")
    read = parser.parse(tmp_path / "chinese.pdf")
    assert found(read) == [["第四章插图 3"], *[[]] * 5]
    assert [page.label for page in read.pages] == [str(i + 3) for i in range(6)]


def test_left_and_right_pages_may_have_running_heads_of_their_own(
    parser: Parser, make: Callable[..., Path]
) -> None:
    def lines(i: int) -> list[Line]:
        return [(60, 40, "The tides of the north")] if i % 2 else [(420, 40, "A. Weatherby")]

    document = parser.parse(make(10, lines))
    assert found(document) == [["A. Weatherby"], ["The tides of the north"], *[[]] * 8]


def test_what_stands_on_two_pages_of_two_stays(parser: Parser, make: Callable[..., Path]) -> None:
    document = parser.parse(make(2, lambda i: [(60, 40, "Bernstein & Sons, chandlers")]))
    assert found(document) == [["Bernstein & Sons, chandlers"]] * 2


def test_a_title_that_only_metadata_and_running_heads_tell_is_kept_once(
    parser: Parser, make: Callable[..., Path]
) -> None:
    document = parser.parse(
        make(4, lambda i: [(60, 40, "Dues of the north quay")], title="Dues of the north quay")
    )
    assert found(document) == [["Dues of the north quay"], [], [], []]


def test_a_running_head_that_stays_does_not_interrupt_a_paragraph(parser: Parser, tmp_path: Path) -> None:
    path = tmp_path / "made.pdf"
    with pymupdf.open() as made:
        for i in range(4):
            page = made.new_page(width=600, height=800)
            if i:
                page.insert_text((60, 40), "Dues of the north quay", fontsize=8)
            if i < 2:
                words = ("this sentence is so long that it goes on", "and on over the page")
                for k in range(3):
                    page.insert_text((60, 120 + 14 * k), words[k % 2], fontsize=11)
            else:
                page.insert_text((60, 120), f"Other text of page {i}.", fontsize=11)
        made.save(path)
    document = parser.parse(path)
    head, rest = document.pages[1].blocks
    assert (head.kind, head.text) == ("margin", "Dues of the north quay")
    assert rest.continues


def test_all_running_heads_stay_if_the_caller_wants_them(parser: Parser, make: Callable[..., Path]) -> None:
    path = make(6, lambda i: [(60, 40, "Report of the harbour office"), (280, 780, f"{i + 3}")])
    document = parser.parse(path, ParseOptions(running_heads="keep"))
    assert found(document) == [["Report of the harbour office", f"{i + 3}"] for i in range(6)]
    assert (document.dropped, document.dropped_lines) == ({}, ())


@pytest.mark.slow
def test_the_list_of_dropped_lines_is_bounded(parser: Parser, make: Callable[..., Path]) -> None:
    chapters = [f"Of the {number}. quay and its many lanterns " + "x" * 90 for number in range(70)]
    with pymupdf.open() as document:
        for i in range(210):
            page = document.new_page(width=900, height=800)
            if i % 3 == 0:
                page.insert_text((60, 120), chapters[i // 3][:40], fontsize=16)
            page.insert_text((60, 40), chapters[i // 3][:40], fontsize=9)
            for k in range(8):
                page.insert_text((60, 150 + 16 * k), f"Line {k} of sheet {i} tells of tar.", fontsize=11)
        path = make(1, lambda i: [])
        document.save(path)
    lines = parser.parse(path).dropped_lines
    assert len(lines) == 51
    assert lines[-1][:2] == ("", "")
    assert sum(line.times for line in lines) == 140


def test_heads_of_left_and_right_pages_may_share_a_word(parser: Parser, make: Callable[..., Path]) -> None:
    right = ["Tools of the mill", "Wheels and ropes", "Notes about the mill", "Sails of canvas"]

    def lines(i: int) -> list[Line]:
        return [(60, 50, right[i // 8] if i % 2 else "Mill 4.8 (a handbook)")]

    heads = [text for page in found(parser.parse(make(32, lines))) for text in page]
    assert heads.count("Mill 4.8 (a handbook)") == 1
