"""Numbers beside the lines of a page: left out beside running text, kept where they are content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pymupdf
import pytest

from prefect_ollama.tasks.parsing import ParsedDocument, ParseOptions, Parser

Read = Callable[..., ParsedDocument]
PROSE = (
    "The witness said that the ship had left the harbour before the",
    "storm began, and that nobody had seen the pilot on the pier. He",
    "also said that the lamp was lit at nine o'clock in the evening,",
    "which the keeper of the lighthouse denied before the same judge.",
)
LISTED = (
    "Halloway and Sons, lamp oil",
    "Ostrander Mill, rope",
    "Bernstein Works, tar and pitch",
    "Quillfeather",
)


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


@pytest.fixture
def read(parser: Parser, tmp_path: Path) -> Read:
    def read(texts: Sequence[str], align: int = 0, step: int = 1, **options: str) -> ParsedDocument:
        path = tmp_path / "numbered.pdf"
        with pymupdf.open() as document:
            for number in range(2):
                page = document.new_page(width=600, height=800)
                for i in range(24):
                    if i % step == 0:
                        printed = str((24 * number + i) // step + 1)
                        x = 50 - align * pymupdf.get_text_length(printed, fontsize=8)
                        page.insert_text((x, 90 + 24 * i), printed, fontsize=8)
                    page.insert_text((72, 90 + 24 * i), texts[i % 4], fontsize=12)
            document.save(path)
        return parser.parse(path, ParseOptions(**options))

    return read


@pytest.mark.parametrize("align", [0, 1], ids=["left", "right"])
def test_numbers_of_lines_do_not_cut_sentences(read: Read, align: int) -> None:
    document = read(PROSE, align)
    assert {block.kind for page in document.pages for block in page.blocks} == {"paragraph"}
    text = " ".join(block.text for page in document.pages for block in page.blocks)
    assert text == " ".join(PROSE * 12)
    assert document.dropped["line-number"] == 9 + 2 * 39


def test_they_stay_if_the_caller_wants_all(read: Read) -> None:
    assert "line-number" not in read(PROSE, running_heads="keep").dropped


def test_numbers_of_a_list_stay(read: Read) -> None:
    document = read(LISTED)
    assert "line-number" not in document.dropped
    assert "48" in str(document.pages[1].blocks)


def test_numbers_of_entries_with_several_lines_stay(read: Read) -> None:
    document = read([PROSE[1].lower(), *PROSE[2:], PROSE[1].lower()], step=2)
    assert "line-number" not in document.dropped
    assert "24" in str(document.pages[1].blocks)
