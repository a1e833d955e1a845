"""What is embedded of a chunk: its text in its surroundings, tables as lines; what is shown stays as it is."""

from __future__ import annotations

import re

import pytest

from prefect_ollama.tasks.chunking import ChunkOptions, chunk_document
from prefect_ollama.tasks.chunking._compact_tables import compact
from prefect_ollama.tasks.chunking._context import document_name
from prefect_ollama.tasks.parsing import Block, Box, Page, ParsedDocument
from prefect_ollama.tasks.parsing.document import Metadata

BOX = Box(70, 100, 500, 120)
TITLE = "Consolidated balance sheets (in millions)"
HEADER = ["|  | December 31, |  |", "| --- | --- | --- |", "|  | 2022 | 2021 |"]
ROWS = [f"| Item {i} of the assets | {i},100 | {i},200 |" for i in range(60)]


def words(text: str) -> int:
    return len(text.split()) + 2


def report(*blocks: Block, title: str = "Annual report", heads: tuple[str, ...] = ()) -> ParsedDocument:
    page = Page(1, 600, 800, blocks, heads=heads, label="F-3")
    return ParsedDocument((page,), 1, Metadata(title=title))


def table(rows: list[str] = ROWS) -> Block:
    return Block("table", "\n".join([*HEADER, *rows]), BOX, header=2, title=TITLE)


def prose(text: str = "What was sold rose by a tenth, and what it cost rose less than that.") -> Block:
    return Block("paragraph", text, BOX)


def test_a_chunk_is_embedded_with_what_names_its_document_and_section_and_shown_without() -> None:
    document = report(
        Block("heading", "Results", BOX, 1),
        Block("heading", "Sales", BOX, 2),
        prose(),
        heads=("Harbour Works Inc. and Subsidiaries", "Table of Contents"),
    )
    (chunk,) = chunk_document(document, count_tokens=words, name="harbour_2022_10K.pdf")
    assert chunk.text.startswith("Results\n\nSales\n\nWhat was sold")
    assert chunk.to_embed.endswith(f"\n\n{chunk.text}")
    before = chunk.to_embed.removesuffix(chunk.text)
    assert "harbour 2022 10K, Annual report" in before
    assert "Harbour Works Inc. and Subsidiaries" in before
    assert "Table of Contents" not in before
    assert (chunk.page_label_from, chunk.page_label_to) == ("F-3", "F-3")


def test_every_part_of_a_table_is_embedded_with_title_units_period_and_years() -> None:
    chunks = chunk_document(report(table()), count_tokens=words, name="report.pdf")
    assert len(chunks) > 3
    for chunk in chunks[1:]:
        assert TITLE in chunk.to_embed
        assert "December 31," in chunk.to_embed
        assert "|" not in chunk.to_embed
        assert chunk.text.startswith("\n".join(HEADER))  # People and models get the header with each part.
        assert re.search(
            r"^Item \d+ of the assets: 2022 \d+,100; 2021 \d+,200$", chunk.to_embed, re.MULTILINE
        )
    lines = "\n".join(each.to_embed for each in chunks).split("\n")
    assert all(any(f"Item {i} of the assets" in line for line in lines) for i in range(60))


def test_what_is_shown_does_not_depend_on_what_is_embedded() -> None:
    document = report(prose(), table(), prose("The notes are a part of the statements."))
    with_context, bare = (
        chunk_document(document, ChunkOptions(context_tokens=tokens), words, name="report.pdf")
        for tokens in (48, 0)
    )
    assert [each.text for each in with_context] == [each.text for each in bare]
    assert not any(each.embedded_text for each in bare)


@pytest.mark.parametrize("tokens", [4, 12, 48])
def test_what_is_embedded_is_never_longer_than_both_limits_allow(tokens: int) -> None:
    title = "A title of a document that goes on and on " * 4
    document = report(prose(), table(), title=title, heads=("A running head of some length",) * 2)
    options = ChunkOptions(
        target_tokens=60, max_tokens=80, overlap_tokens=10, min_tokens=20, context_tokens=tokens
    )
    for chunk in chunk_document(document, options, words, name="a-long-name-of-a-file.pdf"):
        assert words(chunk.to_embed) <= 80 + tokens


def test_a_running_head_is_context_where_it_stands_first_too() -> None:
    head = "Tides of the north, second edition"

    def margin(text: str) -> Block:
        return Block("margin", text, BOX)

    pages = (
        Page(1, 600, 800, (prose("Water rises twice a day."), margin(head), margin("Invoice 4711"))),
        Page(
            2, 600, 800, (prose("The moon pulls at it."), margin("Page two alone")), heads=(head, "Contents")
        ),
        Page(3, 600, 800, (prose("So does the sun."), margin("Contents")), heads=(head,)),
    )
    document = ParsedDocument(pages, 3, Metadata(title="Tides"))
    (chunk,) = chunk_document(document, count_tokens=words)
    assert head not in chunk.text
    assert chunk.to_embed.startswith(f"Tides\n{head}\n\nWater rises twice a day.")
    # What tells pages apart stays, and so does what is no context.
    assert all(text in chunk.text for text in ("Invoice 4711", "Page two alone", "Contents"))
    # Without context nothing would be left of it; a table that was made so keeps its chunks.
    (bare,) = chunk_document(document, ChunkOptions(context_tokens=0), words)
    assert head in bare.text
    # A page of nothing but a running head keeps it.
    alone = ParsedDocument((Page(1, 600, 800, (margin(head),)), *pages[1:]), 3, Metadata(title="Tides"))
    assert head in chunk_document(alone, count_tokens=words)[0].text


def test_no_chunk_is_without_words_or_figures() -> None:
    document = report(prose("— · —"), title="")
    assert chunk_document(document, count_tokens=words) == []


def test_tables_as_lines() -> None:
    rows = ["| Total revenue | 17,606 | 15,785 |", "| Costs: |  |  |", "| Rent \\| heat | — | 12 |"]
    assert compact(["|  | 2022 | 2021 |", "| --- | --- | --- |"], rows) == (
        "Total revenue: 2022 17,606; 2021 15,785\nCosts:\nRent | heat: 2021 12"
    )
    assert compact([], ["| QTD | Quarter-to-date |"]) == "QTD: Quarter-to-date"


def test_numbers_of_many_rows_do_not_outweigh_what_the_rows_are_about() -> None:
    lines = compact(HEADER, [*ROWS[:20], "| Pledged as security | none | 7 |"]).split("\n")
    assert lines[1] == "Item 0 of the assets: 2022 0,100; 2021 0,200"
    assert lines[-2:] == ["Item 19 of the assets", "Pledged as security: 2022 none"]  # Words always stay.


def test_a_long_part_of_a_table_is_embedded_with_the_numbers_of_its_first_rows() -> None:
    options = ChunkOptions(target_tokens=300, max_tokens=400)
    chunks = chunk_document(report(table()), options, words, name="report.pdf")
    assert "Item 59 of the assets" in chunks[-1].to_embed.split("\n")
    assert "| Item 59 of the assets | 59,100 | 59,200 |" in chunks[-1].text


def test_a_period_over_several_columns_belongs_to_each_of_them() -> None:
    header = [
        "|  |  | 2022 |  |  | 2021 |  |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| (in millions) | Sales | Share | Income | Sales | Share | Income |",
    ]
    assert compact(header, ["| Health | 1 | 2 % | 3 | 4 | 5 % | 6 |"]).split("\n") == [
        "(in millions) 2022 Sales; 2022 Share; 2022 Income; 2021 Sales; 2021 Share; 2021 Income",
        "Health: 1; 2 %; 3; 4; 5 %; 6",
    ]


@pytest.mark.parametrize(
    ("title", "file", "name"),
    [
        ("Annual report 2022", "10k.pdf", "10k, Annual report 2022"),
        ("Annual report 2022", "annual-report-2022.pdf", "Annual report 2022"),
        ("0001018724-18-000005", "harbour_2017_10K.pdf", "harbour 2017 10K"),
        ("Microsoft Word - report.docx", "harbour_2017.pdf", "harbour 2017"),
        ("untitled", "scan0001.pdf", ""),
        ("", "3f2b8c1e-9d4a-4c55-8a31-0f3de0b1a7c2.pdf", ""),
        ("Tides of the north", "document (3).pdf", "Tides of the north"),
    ],
)
def test_a_document_is_called_by_its_title_and_what_its_name_adds(title: str, file: str, name: str) -> None:
    assert document_name(title, file) == name
