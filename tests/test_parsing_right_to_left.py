"""Tables and columns of pages that are written from right to left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pymupdf
import pytest

from prefect_ollama.tasks.parsing import Parser
from tests.font_maps import map_font

SIZE = 12
Draw = Callable[[pymupdf.Page], object]
Read = Callable[[Draw], list[tuple[str, str]]]
# What a file says of the letters of Helvetica: "a" is Alef, "b" is Bet.
_HEBREW = {chr(ord("a") + i): chr(0x05D0 + i) for i in range(26)}


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


@pytest.fixture
def read(parser: Parser, tmp_path: Path) -> Read:
    def read(draw: Draw) -> list[tuple[str, str]]:
        path = tmp_path / "hebrew.pdf"
        with pymupdf.open() as document:
            page = document.new_page(width=600, height=800)
            draw(page)
            map_font(page, {chr(i): chr(i) for i in range(32, 91)} | _HEBREW)
            document.save(path)
        return [(block.kind, block.text) for page in parser.parse(path).pages for block in page.blocks]

    return read


def hebrew(text: str) -> str:
    return "".join(_HEBREW.get(letter, letter) for letter in text)


def write(page: pymupdf.Page, x1: float, y: float, text: str) -> None:
    """Write a text that ends at `x1`, as a file holds it: from its last letter to its first, numbers as they are."""
    shown = " ".join(word if word.isdigit() else word[::-1] for word in reversed(text.split(" ")))
    page.insert_text((x1 - pymupdf.get_text_length(shown, fontsize=SIZE), y), shown, fontsize=SIZE)


ROWS = (
    ("shem hair", "ahnt alp", "ahnt byt"),
    ("hair hgdwl", "120", "340"),
    ("hair hqtn", "56", "7"),
    ("kfr bhr", "890", "12"),
)
EDGES = (540, 340, 200)
"""Right edges of the columns, the first column rightmost."""
AS_MARKDOWN = [f"| {' | '.join(map(hebrew, row))} |" for row in ROWS]


def by_rows(page: pymupdf.Page, edges: tuple[int, ...], step: int = 1) -> None:
    for i, row in enumerate(ROWS):
        for x1, cell in list(zip(edges, row, strict=True))[::step]:
            write(page, x1, 100 + 18 * i, cell)


@pytest.mark.parametrize("step", [1, -1], ids=["from the right", "from the left"])
def test_the_rightmost_column_of_a_table_is_its_first(read: Read, step: int) -> None:
    ((kind, text),) = read(lambda page: by_rows(page, EDGES, step))
    assert kind == "table"
    header, _, *rows = text.split("\n")
    assert [header, *rows] == AS_MARKDOWN


def test_the_parts_of_a_form_follow_each_other_from_the_right(read: Read) -> None:
    def draw(page: pymupdf.Page) -> None:
        for i, (label, value) in enumerate((("shem", "abrhm"), ("khtwbt", "rkhwb 12"), ("tlfwn", "5550100"))):
            write(page, 540, 100 + 60 * i, label)
            write(page, 420, 100 + 60 * i, value)

    assert hebrew("shem abrhm") in " ".join(text for _, text in read(draw)).replace(" | ", " ")


def test_the_right_column_of_a_page_comes_first(read: Read) -> None:
    def draw(page: pymupdf.Page) -> None:
        for x1, words in ((560, "hymyn hwa hrashwn kan"), (280, "wgm hshmal bdrk hzat")):
            for i in range(12):
                write(page, x1, 100 + 15 * i + 30 * (i // 6), words)

    paragraphs = [text for kind, text in read(draw) if kind == "paragraph"]
    assert [text[:5] for text in paragraphs] == [hebrew("hymyn")] * 2 + [hebrew("wgm h")] * 2


# From left to right, as a file draws a line; letters of Hebrew words from the last to the first.
@pytest.mark.parametrize(
    ("drawn", "text"),
    [
        (".mybxwt 12,500 hyh ryxmh", "hmxyr hyh 12,500 twxbym."),
        ("rbd 2023 2024 twnsh", "hsnwt 2024 2023 dbr"),
        (".(rbd) lk", "kl (dbr)."),
        ("hlaw A-B CD 1.5% hz", "zh A-B CD 1.5% walh"),
    ],
)
def test_numbers_and_signs_stand_in_their_order(read: Read, drawn: str, text: str) -> None:
    ((_, read_text),) = read(lambda page: page.insert_text((100, 100), drawn, fontsize=SIZE) and None)
    assert read_text == hebrew(text)


def test_hebrew_words_in_a_latin_line_of_a_latin_page_stay_where_they_are(read: Read) -> None:
    def draw(page: pymupdf.Page) -> None:
        for i in range(4):
            page.insert_text((100, 100 + 15 * i), "A PAGE WITH LINES IN LATIN LETTERS", fontsize=SIZE)
        page.insert_text((100, 300), "SAY mwlv hmlv AGAIN", fontsize=SIZE)
        page.insert_text((100, 400), "1 mwlv", fontsize=SIZE)

    *_, sentence, point = [text for _, text in read(draw)]
    assert sentence.startswith("SAY ")
    assert point.startswith("1")
