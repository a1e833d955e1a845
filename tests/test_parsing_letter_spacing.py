"""Letters that are set apart are read as words; letters that stand by themselves stay so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pymupdf
import pytest

from prefect_ollama.tasks.parsing import Parser

REST = "0 Tc /F1 11 Tf 0 -60 Td (The mill ground nine hundred sacks of rye in the year.) Tj"


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


@pytest.fixture
def read(parser: Parser, tmp_path: Path) -> Callable[[str, str], list[str]]:
    """Read a page that operators draw; the font is F1 and the place set."""

    def read(operators: str, font: str = "tiro") -> list[str]:
        path = tmp_path / "made.pdf"
        with pymupdf.open() as document:
            page = document.new_page(width=2400, height=842)
            page.insert_font(font)
            xref = document.get_new_xref()
            document.update_object(xref, "<<>>")
            document.update_stream(
                xref, f"BT 50 760 Td {operators} {REST} ET".replace("/F1", f"/{font}").encode()
            )
            page.set_contents(xref)
            document.save(path)
        return [block.text for page in parser.parse(path).pages for block in page.blocks]

    return read


Read = Callable[..., list[str]]


@pytest.mark.sampled(6)
@pytest.mark.parametrize("font", ["tiro", "hebo", "cour"])
@pytest.mark.parametrize(
    "text",
    [
        "ANNUAL REPORT OF THE MILL",
        "Report 2027",
        "CONTENTS",
        "Minutes of the Board, 14 May",
        "INVOICE No. 20471",
    ],
)
def test_letters_that_are_set_apart_are_words(read: Read, text: str, font: str) -> None:
    for size in (8, 14, 40):
        for spacing in (1, 3, 5, 10):
            found = read(f"/F1 {size} Tf {spacing} Tc ({text}) Tj", font)
            assert found[0] == text, (size, spacing)


def test_words_in_a_line_that_are_set_apart(read: Read) -> None:
    for spacing in (2, 3, 5):
        found = read(f"/F1 12 Tf (Here is a ) Tj {spacing} Tc (spaced pair) Tj 0 Tc ( of the line.) Tj")
        assert found[0] == "Here is a spaced pair of the line."


def test_small_capitals_that_are_set_apart(read: Read) -> None:
    capitals = " ".join(
        f"/F1 14 Tf ({word[0]}) Tj /F1 11 Tf ({word[1:]} ) Tj" for word in ("ANNUAL", "REPORT")
    )
    assert read(f"4 Tc {capitals}")[0] == "ANNUAL REPORT"


def test_letters_without_written_spaces_are_parted_by_their_distance(read: Read) -> None:
    assert read("/F1 14 Tf 4 Tc [(OLD)-700(HARBOUR)-700(DUES)] TJ")[0] == "OLD HARBOUR DUES"


def test_words_that_someone_typed_letter_by_letter(read: Read) -> None:
    assert read("/F1 14 Tf (H A R B O U R   D U E S) Tj")[0] == "HARBOUR DUES"


@pytest.mark.parametrize(
    "text",
    [
        *("a b c d e f", "A B C D E", "x y z w", "1 2 3 4 5 6", "i j k l m n", "S O S", "Y N Y Y N N Y"),
        *("Choose one of a b c d or e", "J R R Tolkien wrote it", "p q r s t in the text", "a + b + c = d"),
    ],
)
def test_letters_by_themselves_stay_so(read: Read, text: str) -> None:
    assert read(f"/F1 12 Tf ({text}) Tj")[0] == text


@pytest.mark.sampled(6)
@pytest.mark.parametrize("font", ["helv", "cour"])
@pytest.mark.parametrize("aligned", [0, 0.5, 1])
@pytest.mark.parametrize("rows", [("MILAW", "BATIM"), ("YNYYN", "NNYYN", "YYYNN"), ("31524", "86241")])
def test_single_letters_in_columns_are_not_joined(
    parser: Parser, tmp_path: Path, rows: tuple[str, ...], font: str, aligned: float
) -> None:
    measure = pymupdf.Font(font)
    for step in (12, 20, 60):
        path = tmp_path / "made.pdf"
        with pymupdf.open() as document:
            page = document.new_page()
            for r, row in enumerate(rows):
                for c, cell in enumerate(row):
                    x = 60 + c * step - aligned * measure.text_length(cell, fontsize=11)
                    page.insert_text((x, 100 + 16 * r), cell, fontsize=11, fontname=font)
            document.save(path)
        found = " ".join(block.text for page in parser.parse(path).pages for block in page.blocks)
        assert not any(row in found for row in rows), step
