"""Raised digits become superscripts, so that the mark of a footnote is no digit of a number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pymupdf
import pytest

from prefect_ollama.tasks.parsing import Parser

SIZE = 12
# What is drawn raised stands between carets, what is drawn lowered between underscores.
Read = Callable[..., list[str]]


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


def write(page: pymupdf.Page, x: float, y: float, text: str) -> None:
    for sign, move in (("^", 5), ("_", -3)):
        for i, part in enumerate(text.split(sign) if sign in text else ()):
            size, up = (7, move) if i % 2 else (SIZE, 0)
            page.insert_text((x, y - up), part, fontsize=size)
            x += pymupdf.get_text_length(part, fontsize=size)
    if "^" not in text and "_" not in text:
        page.insert_text((x, y), text, fontsize=SIZE)


@pytest.fixture
def read(parser: Parser, tmp_path: Path) -> Read:
    def read(*rows: tuple[str, ...]) -> list[str]:
        path = tmp_path / "raised.pdf"
        with pymupdf.open() as document:
            page = document.new_page(width=600, height=800)
            for i, row in enumerate(rows):
                for k, text in enumerate(row):
                    write(page, 60 + 130 * k, 100 + 24 * i, text)
            document.save(path)
        return [block.text for page in parser.parse(path).pages for block in page.blocks]

    return read


@pytest.mark.parametrize(
    ("drawn", "text"),
    [
        ("The fee was $320^1^ and rose later.", "The fee was $320¹ and rose later."),
        ("In 2019^3^ it fell to 1,234^12^ crowns.", "In 2019³ it fell to 1,234¹² crowns."),
        ("It rose by 12.5%^4^ or more.^5,6^", "It rose by 12.5%⁴ or more.⁵,⁶"),
        ("The lake has 45 km^2^ and 10^-6^ grams.", "The lake has 45 km² and 10⁻⁶ grams."),
        ("On the 1^st^ of May", "On the 1st of May"),
        ("Pumps move H_2_O to page 12, no. 345.", "Pumps move H2O to page 12, no. 345."),
        ("^7^ Without taxes of the town of 1897.", "7 Without taxes of the town of 1897."),
    ],
)
def test_digits_behind_other_characters_are_superscripts(read: Read, drawn: str, text: str) -> None:
    assert read((drawn,)) == [text]


def test_numbers_with_marks_stay_cells_of_their_table(read: Read) -> None:
    (table,) = read(
        ("Item", "2025", "2026^1^"),
        ("Lamp oil", "1,234^2^", "1,190"),
        ("Rope", "75", "80^3^"),
        ("Tar", "310", "4"),
    )
    header, _, *rows = table.split("\n")
    assert header == "| Item | 2025 | 2026¹ |"
    assert rows == ["| Lamp oil | 1,234² | 1,190 |", "| Rope | 75 | 80³ |", "| Tar | 310 | 4 |"]
