"""Listings of code: their lines and columns stay, and tables and typewritten pages are not taken for listings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import pymupdf
import pytest

from prefect_ollama.tasks.chunking import ChunkOptions, chunk_document
from prefect_ollama.tasks.parsing import Block, ParsedDocument, Parser
from prefect_ollama.tasks.parsing.markdown import to_markdown

PROSE = (
    "A reader opens the file and keeps its names until the last of them is",
    "written. Each name stands for one record, and a record that is read twice",
    "is kept only once, because the second reader finds the first one there.",
)
CODE = """\
def tides(harbour):
    for day in calendar(harbour):
        if day.moon == "full":   # spring tides
            yield day            # twice a month

    return None"""


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


@pytest.fixture
def read(tmp_path: Path, parser: Parser) -> Callable[..., ParsedDocument]:
    """Read a file of pages, each drawn by a function."""

    def read(*draws: Callable[[pymupdf.Page], object]) -> ParsedDocument:
        path = tmp_path / "made.pdf"
        with pymupdf.open() as document:
            for draw in draws:
                draw(document.new_page(width=600, height=800))
            document.save(path)
        return parser.parse(path)

    return read


def prose(page: pymupdf.Page, y: float, font: str = "helv", x: float = 60) -> None:
    for i, line in enumerate(PROSE):
        page.insert_text((x, y + 14 * i), line, fontsize=11, fontname=font)


def code(page: pymupdf.Page, y: float, text: str = CODE, x: float = 90) -> None:
    """Draw each word at its column, as TeX does: the file holds no spaces."""
    pitch = pymupdf.get_text_length("m", "cour", 9)
    for i, line in enumerate(text.split("\n")):
        column = 0
        for space, letters in groupby(line, str.isspace):
            word = "".join(letters)
            if not space:
                page.insert_text((x + column * pitch, y + 11 * i), word, fontsize=9, fontname="cour")
            column += len(word)


def blocks(document: ParsedDocument) -> list[Block]:
    return [block for page in document.pages for block in page.blocks]


def test_a_listing_keeps_its_lines_and_its_columns(read: Callable[..., ParsedDocument]) -> None:
    def draw(page: pymupdf.Page) -> None:
        prose(page, 100)
        code(page, 160)
        prose(page, 250)

    document = read(draw)
    assert [(block.kind, block.text) for block in blocks(document)] == [
        ("paragraph", " ".join(PROSE)),
        ("code", CODE),
        ("paragraph", " ".join(PROSE)),
    ]
    assert f"````\n{CODE}\n````" in to_markdown(document)
    listing = blocks(document)[1]
    assert [listing.text[end - 1] for end in listing.ends] == ["\n"] * CODE.count("\n")


def test_what_a_listing_keeps_does_not_count_as_left_out(read: Callable[..., ParsedDocument]) -> None:
    text = "total = (spring-\n         neap)\nprint('.........')\nprint(total)"

    def draw(page: pymupdf.Page) -> None:
        prose(page, 100)
        code(page, 160, text)
        prose(page, 250)

    document = read(draw)
    assert blocks(document)[1].text == text
    assert document.dropped == {}


def test_a_long_listing_in_smaller_type_does_not_make_headings_of_the_text(
    read: Callable[..., ParsedDocument],
) -> None:
    def draw(page: pymupdf.Page) -> None:
        prose(page, 60)
        code(page, 120, "\n".join([CODE] * 6))
        page.insert_text((60, 700), "This is how the tides of a month are found", fontsize=11)

    found = blocks(read(lambda page: (prose(page, 60), prose(page, 120), prose(page, 180)), draw))
    assert {block.kind for block in found} == {"paragraph", "code"}


def test_names_beside_other_text_are_no_listing(read: Callable[..., ParsedDocument]) -> None:
    names = ("open", "read_line", "seek", "flush", "limit")

    def draw(page: pymupdf.Page) -> None:
        prose(page, 100)
        for i, name in enumerate(names):
            page.insert_text((90, 180 + 16 * i), name, fontsize=9, fontname="cour")
        for i in range(len(names)):
            page.insert_text((200, 180 + 16 * i), f"Number {i} of them all", fontsize=9)

    assert "code" not in {block.kind for block in blocks(read(draw))}


def test_cells_between_the_columns_of_letters_are_no_listing(read: Callable[..., ParsedDocument]) -> None:
    def draw(page: pymupdf.Page) -> None:
        prose(page, 100)
        for i, (name, value) in enumerate((("A1", "-5 to +5"), ("IN1", "0 to 5"), ("SQR1", "1"), ("B", "0"))):
            for middle, text in ((100, name), (203, value), (301, str(i))):
                left = middle - pymupdf.get_text_length(text, "cour", 9) / 2
                page.insert_text((left, 180 + 14 * i), text, fontsize=9, fontname="cour")

    kinds = [block.kind for block in blocks(read(draw))]
    assert kinds == ["paragraph", "table"]


def test_a_typewritten_file_is_prose(read: Callable[..., ParsedDocument]) -> None:
    found = blocks(read(*[lambda page: prose(page, 100, "cour")] * 2))
    assert [(block.kind, block.text) for block in found] == [("paragraph", " ".join(PROSE))] * 2


def test_chunks_divide_a_listing_between_its_lines(read: Callable[..., ParsedDocument]) -> None:
    text = "\n".join(f"{'    ' * (i % 3)}tide_{i} = height(day[{i}], hour)" for i in range(40))

    def draw(page: pymupdf.Page) -> None:
        prose(page, 60)
        prose(page, 120)
        prose(page, 180)
        code(page, 240, text)

    document = read(lambda page: [prose(page, 60 * i) for i in range(1, 12)], draw)
    assert [block.text for block in blocks(document) if block.kind == "code"] == [text]
    chunks = [chunk.text for chunk in chunk_document(document, ChunkOptions())]
    lines = [line for chunk in chunks for line in chunk.split("\n") if "tide_" in line]
    assert {line.strip() for line in lines} == {line.strip() for line in text.split("\n")}
    assert any(line.startswith("    tide_") for line in lines)
