"""The words of a quote are marked on the picture of their page: over line ends, hyphens, ligatures and pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pymupdf
import pytest

from prefect_ollama.blocks.documents import Region
from prefect_ollama.tasks.parsing import Parser, Quoted
from prefect_ollama.tasks.searching import MarkedPage, PageDrawer
from tests.cases import most_slow
from tests.test_pictures import marked, pixels

LINES = [
    "The keeper lit the lamp at dusk.",
    "He trimmed the wick of the burn-",
    "er, and the \ufb01rst \ufb02ame was low.",
    "The keeper slept, and the lamp burned.",
]
PASSAGE = (
    "The keeper lit the lamp at dusk. He trimmed the wick of the burner, and the first flame was low. The keeper "
    "slept, and the lamp burned."
)
LEFT, TOP, STEP, SIZE = 60, 100, 30, 12


def written(file: Path, *pages: list[str], turned: int = 0) -> Path:
    """Write lines of text, each thirty points below the one before it."""
    font = pymupdf.Font("helv")
    with pymupdf.open() as made:
        for lines in pages:
            page = made.new_page(width=400, height=400)
            writer = pymupdf.TextWriter(page.rect)
            for number, line in enumerate(lines):
                writer.append((LEFT, TOP + number * STEP), line, font=font, fontsize=SIZE)
            writer.write_text(page)
            page.set_rotation(turned)
        made.save(file)
    return file


def regions(pages: int = 1, lines: int = 4) -> list[Region]:
    """Where the lines stand on each page."""
    return [Region(page, LEFT - 2, TOP - 15, 390, TOP + lines * STEP) for page in range(1, pages + 1)]


@pytest.fixture(scope="module")
def drawer() -> Iterator[PageDrawer]:
    with PageDrawer(dpi=72) as drawer:
        yield drawer


def drawn(drawer: PageDrawer, file: Path, quote: str, passage: str, *, pages: int = 1) -> list[MarkedPage]:
    start = passage.index(quote)
    quoted = Quoted.of(passage, start, start + len(quote))
    return drawer.drawn(file, range(1, pages + 1), regions(pages), quoted)


def rows_of(page: MarkedPage) -> set[int]:
    """Numbers of the lines that are marked on a page, from 0."""
    # Four points above a line's base are its small letters.
    return {line for line in range(8) if marked(page.png)[TOP + line * STEP - 4].sum() > 8}


@pytest.mark.parametrize(
    ("quote", "lines"),
    [
        ("lit the lamp at dusk", {0}),
        ("wick of the burner, and", {1, 2}),
        ("first flame was low", {2}),
        ("at dusk. He trimmed the wick of the burner, and the first flame was low. The keeper", {0, 1, 2, 3}),
        ("The keeper slept", {3}),
    ],
)
def test_the_words_of_a_quote_are_marked_and_no_others(
    drawer: PageDrawer, tmp_path: Path, quote: str, lines: set[int]
) -> None:
    (page,) = drawn(drawer, written(tmp_path / "a.pdf", LINES), quote, PASSAGE)
    assert (page.page, page.note) == (1, "")
    assert rows_of(page) == lines


def test_only_a_part_of_a_line_is_marked(drawer: PageDrawer, tmp_path: Path) -> None:
    file = written(tmp_path / "a.pdf", LINES)
    (whole,), (part,) = drawn(drawer, file, LINES[0], PASSAGE), drawn(drawer, file, "lamp at dusk", PASSAGE)
    widths = [np.ptp(np.nonzero(marked(page.png))[1]) for page in (whole, part)]
    assert widths[1] < 0.5 * widths[0]


def test_of_equal_words_those_of_the_quote_are_marked(drawer: PageDrawer, tmp_path: Path) -> None:
    lines = [
        "Line one has the number 42 in it.",
        "Line two is another one.",
        "A third has the number 42 too.",
    ]
    passage = " ".join(lines)
    last = passage.rindex("the number 42")
    file = written(tmp_path / "a.pdf", lines)
    (page,) = drawer.drawn(file, [1], regions(), Quoted.of(passage, last, last + 13))
    assert rows_of(page) == {2}


def test_a_quote_over_two_pages_is_marked_on_both(drawer: PageDrawer, tmp_path: Path) -> None:
    file = written(tmp_path / "a.pdf", LINES[:2], LINES[2:])
    first, second = drawn(drawer, file, "trimmed the wick of the burner, and the first", PASSAGE, pages=2)
    assert (first.page, second.page, first.note, second.note) == (1, 2, "", "")
    assert (rows_of(first), rows_of(second)) == ({1}, {0})
    (only,) = drawn(drawer, file, "and the lamp burned", PASSAGE, pages=2)
    assert only.page == 2


def test_words_outside_the_passage_are_not_marked(drawer: PageDrawer, tmp_path: Path) -> None:
    file = written(tmp_path / "a.pdf", [*LINES, "", "", "The keeper lit the lamp at dusk."])
    (page,) = drawn(drawer, file, "lit the lamp at dusk", PASSAGE)
    assert rows_of(page) == {0}


@pytest.mark.parametrize("turned", most_slow([90, 180, 270], but=[90]))
def test_a_quote_is_marked_on_a_turned_page(drawer: PageDrawer, tmp_path: Path, turned: int) -> None:
    file = written(tmp_path / "a.pdf", LINES, turned=turned)
    quote = "first flame was low"
    start = PASSAGE.index(quote)
    with Parser() as parser:
        boxes = [Region(1, *block.box) for block in parser.parse(file).pages[0].blocks]
    with PageDrawer(dpi=72) as drawer:
        (page,) = drawer.drawn(file, [1], boxes, Quoted.of(PASSAGE, start, start + len(quote)))
    assert page.note == ""
    ink = pixels(page.png).max(axis=2) < 100
    yellow = marked(page.png)
    # The letters of the quote, and a few of its line, are under the mark.
    rows, columns = np.nonzero(yellow)
    inside = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert 50 < inside.sum() < 0.5 * ink.sum()


def test_cells_that_are_stored_by_column_are_found_by_row(drawer: PageDrawer, tmp_path: Path) -> None:
    with pymupdf.open() as made:
        page = made.new_page(width=400, height=400)
        for column, cells in enumerate((["Port", "Brest", "Dover"], ["Range", "6.4 m", "5.8 m"])):
            for row, cell in enumerate(cells):
                page.insert_text((LEFT + column * 150, TOP + row * STEP), cell, fontsize=SIZE)
        made.save(tmp_path / "a.pdf")
    passage = "| Port | Range |\n| --- | --- |\n| Brest | 6.4 m |\n| Dover | 5.8 m |"
    (page,) = drawn(drawer, tmp_path / "a.pdf", "| Dover | 5.8 m |", passage)
    assert (rows_of(page), page.note) == ({2}, "")


def no_text(file: Path) -> Path:
    """Write a page that is one picture, as of a scanner."""
    other = written(file.with_name("other.pdf"), LINES)
    with pymupdf.open(other) as source, pymupdf.open() as made:
        picture = source[0].get_pixmap(dpi=100)
        page = made.new_page(width=400, height=400)
        page.insert_image(page.rect, pixmap=picture)
        made.save(file)
    return file


def other_text(file: Path) -> Path:
    """Write a page that does not hold the passage at all, as of a file that was changed."""
    return written(file, ["Something else stands here.", "It has nothing to do with it."])


@pytest.mark.parametrize("write", [no_text, other_text])
def test_where_the_words_are_not_found_the_passage_is_marked_and_that_is_said(
    drawer: PageDrawer, tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    (page,) = drawn(drawer, write(tmp_path / "a.pdf"), "lit the lamp at dusk", PASSAGE)
    assert "whole passage is marked" in page.note
    assert rows_of(page) >= {0, 1, 2, 3}


def test_a_part_that_is_not_found_is_said(drawer: PageDrawer, tmp_path: Path) -> None:
    file = written(tmp_path / "a.pdf", LINES[:2])
    (page,) = drawn(drawer, file, PASSAGE, PASSAGE)
    assert "part of the quote's words" in page.note
    assert rows_of(page) == {0, 1}
