"""Parts of paragraphs, labels of chapters, and dots that lead to the fields of a form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pymupdf
import pytest

from prefect_ollama.tasks.parsing import Parser
from prefect_ollama.tasks.parsing.document import Block
from prefect_ollama.tasks.parsing.pdf._table_rows import centred_rows

Line = tuple[float, float, str, float]
TEXT = "The harbour of the old town has two basins, and each of them is closed by a gate that opens to"


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


def blocks(parser: Parser, path: Path, lines: list[Line]) -> list[Block]:
    """Read a page with lines at these places, in points, in type of this size."""
    with pymupdf.open() as document:
        page = document.new_page()
        for x, y, text, size in lines:
            page.insert_text((x, y), text, fontsize=size)
        document.save(path)
    return [block for page in parser.parse(path).pages for block in page.blocks]


def texts(parser: Parser, path: Path, lines: list[Line]) -> list[str]:
    return [block.text for block in blocks(parser, path, lines)]


def body(y: float, count: int = 4) -> list[Line]:
    return [(72, y + 12 * i, TEXT, 10) for i in range(count)]


def test_lines_of_east_asian_paragraphs_are_joined_without_a_space(parser: Parser, tmp_path: Path) -> None:
    said = [
        "编译后就会生成文件，每个文件的后缀就是",
        "图形起始声明的编号，所以编号应保持唯一，因为",
        "LATEX 不能识别它们。",
    ]
    with pymupdf.open() as document:
        page = document.new_page()
        for i, each in enumerate(said):
            # Uneven left edges, as words of other scripts in a line make them, divide blocks.
            left = 340 - 11 * len(said[i]) if i < 2 else 110
            page.insert_text((left, 100 + 15 * i), each, fontsize=11, fontname="china-s")
        page.insert_text((72, 160), "直线", fontsize=11, fontname="china-s")
        document.save(tmp_path / "chinese.pdf")
    read = [block.text for block in parser.parse(tmp_path / "chinese.pdf").pages[0].blocks]
    assert read == [f"{said[0]}{said[1]} {said[2]}", "直线"]


def test_a_point_of_a_list_goes_on_in_its_second_line(parser: Parser, tmp_path: Path) -> None:
    lines = [
        *body(100),
        (76, 180, "·", 8),
        (84, 180, TEXT[:88], 10),
        (84, 192, "the sea twice a day.", 10),
        (76, 206, "·", 8),
        (84, 206, "A second point is here.", 10),
    ]
    read = texts(parser, tmp_path / "list.pdf", lines)
    assert read[-2:] == [f"· {TEXT[:88]} the sea twice a day.", "· A second point is here."]


def test_lines_with_an_uneven_left_edge_are_one_paragraph(parser: Parser, tmp_path: Path) -> None:
    said = [
        "It was a fine day, and all who lived in the houses of",
        "the harbour went out early to see the ships that",
        "came back from the north with salt and fish for the",
        "winter.",
    ]
    right = 500
    lines = [
        (right - pymupdf.get_text_length(each, fontsize=10), 100 + 12 * i, each, 10)
        for i, each in enumerate(said)
    ]
    lines[-1] = (right - 200, *lines[-1][1:])
    assert texts(parser, tmp_path / "right.pdf", lines) == [" ".join(said)]


def test_lines_with_wide_spaces_are_one_paragraph(parser: Parser, tmp_path: Path) -> None:
    lines: list[Line] = []
    for i in range(8):
        lines += [
            (90, 80 + 72 * i, "The gate" + TEXT[11:85], 10),
            (72, 104 + 72 * i, TEXT[4:], 10),
            (72, 128 + 72 * i, "the sea.", 10),
        ]
    read = texts(parser, tmp_path / "spaced.pdf", lines)
    assert read == [f"The gate{TEXT[11:85]} {TEXT[4:]} the sea."] * 8


def test_short_lines_one_below_the_other_stay_apart(parser: Parser, tmp_path: Path) -> None:
    names = ["driver makes a file", "package makes another", "fonts makes the third"]
    lines = [*body(100), *((72, 180 + 20 * i, name, 10) for i, name in enumerate(names))]
    assert texts(parser, tmp_path / "names.pdf", lines)[-3:] == names


@pytest.mark.parametrize("label", ["Chapter 4", "ANHANG B", "Teil II:"])
def test_the_label_of_a_chapter_is_a_part_of_its_heading(parser: Parser, tmp_path: Path, label: str) -> None:
    lines = [*body(100), (72, 200, label, 16), (72, 240, "Running the mill", 20), *body(280)]
    read = blocks(parser, tmp_path / "label.pdf", lines)
    assert [block.text for block in read if block.kind == "heading"] == [f"{label} Running the mill"]


def test_other_headings_above_each_other_stay_two(parser: Parser, tmp_path: Path) -> None:
    lines = [*body(100), (72, 200, "Chapters of life", 16), (72, 240, "Running the mill", 20), *body(280)]
    read = blocks(parser, tmp_path / "two.pdf", lines)
    assert [block.text for block in read if block.kind == "heading"] == [
        "Chapters of life",
        "Running the mill",
    ]


def test_dots_that_lead_to_a_field_are_no_cells(parser: Parser, tmp_path: Path) -> None:
    rows = [
        ("7", "Wages and tips", "7,100"),
        ("8", "Interest", "250"),
        ("9", "Dividends", "90"),
        ("10", "Refunds", "11"),
    ]
    lines: list[Line] = []
    for i, (number, name, amount) in enumerate(rows):
        y = 120 + 16 * i
        lines += [(72, y, number, 9), (100, y, name, 9), (500, y, amount, 9)]
        lines += [(200 + 24 * k, y, ".", 9) for k in range(i, 11)]
    [table] = blocks(parser, tmp_path / "form.pdf", lines)
    assert table.kind == "table"
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.text.splitlines()]
    assert [row for row in cells if set(row) != {"---"}] == [list(row) for row in rows]


def test_cells_in_the_middle_of_their_row_stay_in_it(parser: Parser, tmp_path: Path) -> None:
    names = [
        ("Kind", "Number", "Room for files"),
        ("Plain", "2", "Size of the|smallest part|times the|number of|parts"),
    ]
    names += [
        ("Mirror", "3", "Size of the|smallest part|of all"),
        ("Mixed", "4", "Size of all|parts by the|copies"),
    ]
    lines: list[Line] = []
    y = 100
    for kind, number, room in names:
        parts = room.split("|")
        middle = y + 12 * (len(parts) // 2)
        lines += [(72, middle, kind, 10), (150, middle, number, 10)]
        lines += [(220, y + 12 * i, part, 10) for i, part in enumerate(parts)]
        y += 12 * len(parts)
    [table] = blocks(parser, tmp_path / "middle.pdf", lines)
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.text.splitlines()]
    assert [row for row in cells if set(row) != {"---"}] == [
        [kind, number, room.replace("|", " ")] for kind, number, room in names
    ]


def test_cells_at_the_top_of_their_row_stay_in_it() -> None:
    assert centred_rows([{0, 1}, {0, 1}, {1}, {0, 1}, {1}, {0, 1}, {1}]) is None
    assert centred_rows([{0, 1}, {0, 1}, {0, 1}]) is None
    assert centred_rows([{0, 1}, {1}, {0, 1}, {1}, {0, 1}]) == [True, False, False, True]


def test_a_last_column_that_is_wider_than_its_title_is_a_part_of_the_table(
    parser: Parser, tmp_path: Path
) -> None:
    rows = [
        ("value", "name", "note"),
        ("1", "HUP", "the terminal was closed by its user in between"),
        ("2", "INT", "the user has pressed the keys for interrupt"),
        ("3", "QUIT", "the user has pressed the keys for quit"),
    ]
    # The notes come after all other cells, as some programs write them.
    lines = [(x, 100 + 14 * i, row[k], 10) for i, row in enumerate(rows) for k, x in enumerate((72, 130))]
    lines.insert(2, (200, 100, rows[0][2], 10))
    lines += [(200, 100 + 14 * i, row[2], 10) for i, row in enumerate(rows) if i]
    [table] = blocks(parser, tmp_path / "note.pdf", lines)
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.text.splitlines()]
    assert [row for row in cells if set(row) != {"---"}] == [list(row) for row in rows]
