"""Tables of figures as reports set them: no ruling, signs apart from their numbers, headers of several lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pymupdf
import pytest

from prefect_ollama.tasks.parsing import Block, ParsedDocument, Parser
from prefect_ollama.tasks.parsing.pdf._amounts import is_amount, is_year
from prefect_ollama.tasks.parsing.pdf._table_header import header_rows, is_period, is_unit

Draw = Callable[[pymupdf.Page], object]
COLUMNS = (400.0, 480.0, 560.0)
"""Right edges of the columns of numbers."""


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


@pytest.fixture
def parse(parser: Parser, tmp_path: Path) -> Callable[..., ParsedDocument]:
    def made(*pages: Draw) -> ParsedDocument:
        path = tmp_path / "statement.pdf"
        with pymupdf.open() as document:
            for draw in pages:
                draw(document.new_page(width=620, height=800))
            document.save(path)
        return parser.parse(path)

    return made


def write(page: pymupdf.Page, x: float, y: float, text: str, font: str = "helv", size: float = 9) -> None:
    page.insert_text((x, y), text, fontsize=size, fontname=font)


def right(page: pymupdf.Page, x1: float, y: float, text: str) -> None:
    write(page, x1 - pymupdf.get_text_length(text, fontsize=9), y, text)


def row(page: pymupdf.Page, y: float, label: str, *numbers: str, sign: str = "") -> None:
    """A row as reports have it: a sign stands at the left of its column, the number at the right."""
    write(page, 60, y, label)
    for x1, number in zip(COLUMNS, numbers, strict=False):
        if sign:
            write(page, x1 - 55, y, sign)
        right(page, x1, y, number)


def years(page: pymupdf.Page, y: float, *names: str) -> None:
    for x1, name in zip(COLUMNS, names, strict=False):
        right(page, x1 - 10, y, name)


def tables(document: ParsedDocument) -> list[Block]:
    return [block for page in document.pages for block in page.blocks if block.kind == "table"]


def cells(block: Block) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.text.split("\n")]
    return [each for each in rows if set("".join(each)) - set("- ")]


def statement(page: pymupdf.Page, top: float = 100) -> None:
    write(page, 200, top, "CONSOLIDATED STATEMENTS OF INCOME", "hebo")
    write(page, 215, top + 14, "(in millions, except per share data)", "hebo")
    write(page, 395, top + 34, "Year ended June 30,")
    years(page, top + 48, "2019", "2018", "2017")
    row(page, top + 62, "Net sales", "12,500", "11,400", "10,300", sign="$")
    row(page, top + 76, "Costs and expenses:")
    row(page, top + 90, "Cost of goods sold", "7,100", "6,900", "6,200")
    row(page, top + 104, "Selling and administration", "2,000", "(1,900)", "—")
    row(page, top + 118, "Net income", "3,400", "2,600", "4,100", sign="$")


def test_years_and_periods_above_the_numbers_are_the_header(parse: Callable[..., ParsedDocument]) -> None:
    (table,) = tables(parse(statement))
    assert table.header == 2
    head = cells(table)[: table.header]
    assert [cell for cell in head[0] if cell] == ["Year ended June 30,"]
    assert head[1] == ["", "2019", "2018", "2017"]


def test_the_title_and_the_units_belong_to_their_table(parse: Callable[..., ParsedDocument]) -> None:
    document = parse(statement)
    (table,) = tables(document)
    assert table.title == "CONSOLIDATED STATEMENTS OF INCOME (in millions, except per share data)"
    headings = [block.text for block in document.pages[0].blocks if block.kind == "heading"]
    assert not any("millions" in text for text in headings)


def test_a_currency_sign_belongs_to_its_number(parse: Callable[..., ParsedDocument]) -> None:
    (table,) = tables(parse(statement))
    assert ["Net sales", "$12,500", "$11,400", "$10,300"] in cells(table)
    assert all(len(each) == 4 for each in cells(table))


def test_a_percent_sign_and_a_bracket_belong_to_their_number(parse: Callable[..., ParsedDocument]) -> None:
    def draw(page: pymupdf.Page) -> None:
        years(page, 100, "2019", "2018", "2017")
        for i, (label, *numbers) in enumerate(
            (
                ("Organic", "(1.0", "2.3", "4.5"),
                ("Currency", "0.5", "(3.2", "1.1"),
                ("Total", "9.5", "0.8", "5.6"),
            )
        ):
            write(page, 60, 114 + 14 * i, label)
            for x1, number in zip(COLUMNS, numbers, strict=True):
                right(page, x1, 114 + 14 * i, number)
                write(page, x1 + 4, 114 + 14 * i, ")%" if number.startswith("(") else "%")

    (table,) = tables(parse(draw))
    assert ["Organic", "(1.0)%", "2.3 %", "4.5 %"] in cells(table)


def test_rows_that_stand_close_never_merge(parse: Callable[..., ParsedDocument]) -> None:
    def draw(page: pymupdf.Page) -> None:
        years(page, 100, "2019", "2018", "2017")
        y = 114.0
        for group in range(4):
            for i in range(3):
                row(page, y, f"Item {group} {i}", f"{group}1{i}", f"{group}2{i}", f"{group}3{i}")
                y += 10.5
            y += 9

    (table,) = tables(parse(draw))
    assert ["Item 2 1", "211", "221", "231"] in cells(table)
    assert len(cells(table)) == 13


def test_the_parts_of_a_table_around_the_name_of_a_group_are_one_table(
    parse: Callable[..., ParsedDocument],
) -> None:
    def draw(page: pymupdf.Page) -> None:
        statement(page)
        write(
            page, 60, 246, "Earnings per common share of the company, with and without the effect of dilution"
        )
        row(page, 262, "Basic", "1.96", "2.43", "0.36", sign="$")
        row(page, 276, "Diluted", "1.95", "2.40", "0.36", sign="$")

    (table,) = tables(parse(draw))
    assert cells(table)[-1] == ["Diluted", "$1.95", "$2.40", "$0.36"]
    assert table.header == 2


def test_a_table_of_empty_cells_is_none(parse: Callable[..., ParsedDocument]) -> None:
    def draw(page: pymupdf.Page) -> None:
        write(page, 60, 80, "Nothing stands in the columns below.")
        for i in range(6):
            for x1 in COLUMNS:
                right(page, x1, 110 + 14 * i, "…")

    for table in tables(parse(draw)):
        assert any(character.isalnum() for row in cells(table) for cell in row for character in cell)


def test_two_columns_of_terms_and_meanings_stay_pairs(parse: Callable[..., ParsedDocument]) -> None:
    pairs = [
        ("QTD", "Quarter-to-date, that is the three months that end with the day of the report"),
        ("YTD", "Year-to-date, that is the months since the first of January"),
        ("RA", "Restated amounts, as the notes to the statements describe them"),
        ("NM", "Not meaningful, because the base is small or negative"),
        ("bps", "Basis points, hundredths of a percent"),
    ]

    def draw(page: pymupdf.Page) -> None:
        for i, (term, meaning) in enumerate(pairs):
            write(page, 60, 100 + 16 * i, term)
            write(page, 150, 100 + 16 * i, meaning)

    document = parse(draw)
    said = "\n".join(block.text for block in document.pages[0].blocks)
    assert all(
        any(term in line and meaning in line for line in said.split("\n")) for term, meaning in pairs
    ), said


@pytest.mark.parametrize(
    "text", ["12,500", "(1,900)", "$3.50", "—", "33.9 %", "(3.2)%", "1 234,5", "$—", "(0.5)", "2.1x"]
)
def test_amounts(text: str) -> None:
    assert is_amount(text)


@pytest.mark.parametrize("text", ["2019", "Net sales", "", "FY2019", "% of total", "Note 3", "(a)"])
def test_what_is_no_amount(text: str) -> None:
    assert not is_amount(text)


def test_years_periods_and_units() -> None:
    assert is_year("2019")
    assert is_year("FY2023E")
    assert not is_year("2,019")
    assert is_period("Three Months Ended March 31,")
    assert not is_period("The period of grace ended well.")
    assert is_unit("(in thousands, except per share data)")
    assert is_unit("(Unaudited)")
    assert not is_unit("Restructuring (Note 5)")


def test_the_rows_of_a_header_are_counted() -> None:
    assert header_rows([["", "Q4", ""], ["(in millions)", "2022", "2021"], ["Sales", "$5", "$4"]]) == 2
    assert header_rows([["Revenue:", "", ""], ["Products", "5", "4"]]) == 0
    assert header_rows([["Ship", "Harbour"], ["Anna", "Kiel"]]) == 1
