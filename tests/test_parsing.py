"""Parsing of sound files: everything is read, in the order of a reader, with its structure, and reported."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pymupdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_ollama.tasks.parsing import Block, ParsedDocument, ParseOptions, Parser
from prefect_ollama.tasks.parsing.pdf._metadata import read_date
from prefect_ollama.tasks.parsing.pdf._text_cleanup import TextCleanup

SAMPLES = Path(__file__).parent.parent / "samples"


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as parser:
        yield parser


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Write a PDF: each function draws on a page of its own, 600 by 800 points."""

    def write(*draws: Callable[[pymupdf.Page], object], **metadata: str) -> Path:
        path = tmp_path / "made.pdf"
        with pymupdf.open() as document:
            for draw in draws:
                draw(document.new_page(width=600, height=800))
            document.set_metadata(metadata)
            document.save(path)
        return path

    return write


def html(
    text: str, box: tuple[float, float, float, float] = (60, 60, 540, 740), css: str = ""
) -> Callable[..., object]:
    return lambda page: page.insert_htmlbox(
        box, text, css="* {font-family: sans-serif; font-size: 11px}" + css
    )


def lines(
    *texts: str, size: float = 11, x: float = 60, y: float = 100, step: float = 1.25
) -> Callable[..., object]:
    def draw(page: pymupdf.Page) -> None:
        for i, text in enumerate(texts):
            page.insert_text((x, y + i * step * size), text, fontsize=size)

    return draw


def together(*draws: Callable[..., object]) -> Callable[..., object]:
    return lambda page: [draw(page) for draw in draws]


def blocks(document: ParsedDocument, kind: str = "") -> list[Block]:
    return [block for page in document.pages for block in page.blocks if kind in ("", block.kind)]


def texts(document: ParsedDocument, kind: str = "") -> list[str]:
    return [block.text for block in blocks(document, kind)]


def prose(name: str, sentences: int) -> str:
    return " ".join(f"The {name} part says in sentence {i} what there is to say." for i in range(sentences))


def column(name: str, x: float, y: float = 100) -> Callable[..., object]:
    return html(f"<p>{prose(name, 5)}</p><p>{prose(name + ' second', 5)}</p>", (x, y, x + 220, 780))


def test_columns_are_read_one_after_the_other_whatever_the_order_in_the_file(
    parser: Parser, make: Callable[..., Path]
) -> None:
    title = html(
        "<h1>A title over both columns</h1>", (60, 30, 540, 90), "h1 {font-size: 20px; text-align: center}"
    )
    left, right = column("left", 60), column("right", 320)
    for draws in ((title, left, right), (right, left, title), (left, title, right)):
        found = texts(parser.parse(make(together(*draws))))
        assert [text.split()[1] for text in found] == ["title", "left", "left", "right", "right"]


def test_a_foot_that_the_file_has_before_the_text_comes_after_it(
    parser: Parser, make: Callable[..., Path]
) -> None:
    foot, words = lines("Printed by the harbour office", size=8, y=770), column("words", 60)
    found = texts(parser.parse(make(together(foot, words))))
    assert found[0].startswith("The words")
    assert found[-1] == "Printed by the harbour office"


def test_lines_written_across_both_columns_are_read_column_by_column(
    parser: Parser, make: Callable[..., Path]
) -> None:
    def draw(page: pymupdf.Page) -> None:
        for i in range(20):
            page.insert_text((60, 100 + i * 14), f"left line {i} runs on with its words and", fontsize=10)
            page.insert_text((330, 100 + i * 14), f"right line {i} runs on with its words and", fontsize=10)

    whole = " ".join(texts(parser.parse(make(draw))))
    assert whole.index("left line 19") < whole.index("right line 0")


def test_running_heads_and_feet_are_kept_once_and_page_numbers_are_dropped_and_counted(
    parser: Parser, make: Callable[..., Path]
) -> None:
    def page(i: int) -> Callable[..., object]:
        return together(
            lines("Annual report of the harbour", size=8, y=30),
            html(f"<p>{prose(f'number{i}', 9)}</p>"),
            lines(f"Harbour office | {i + 4}", size=8, y=770),
            lines(f"– {i + 4} –", size=8, x=290, y=785),
        )

    document = parser.parse(make(*(page(i) for i in range(6))))
    assert texts(document, "margin") == ["Annual report of the harbour", "Harbour office | 4"]
    assert [block.kind for block in document.pages[0].blocks] == ["margin", "paragraph", "margin"]
    assert len(blocks(document)) == 8
    assert document.dropped == {"header": 5 * 24, "footer": 5 * 15, "page-number": 6 * 3}
    assert document.dropped_lines == (
        ("page-number", "· 4 ·", 6),
        ("header", "Annual report of the harbour", 5),
        ("footer", "Harbour office", 5),
    )


def test_what_only_looks_like_a_running_head_stays(parser: Parser, make: Callable[..., Path]) -> None:
    pages = [
        together(
            lines(f"Chapter {i}", size=20, y=60), html(f"<p>{prose(f'n{i}', 9)}</p>", (60, 120, 540, 700))
        )
        for i in range(5)
    ]
    document = parser.parse(make(*pages))
    assert texts(document, "heading") == [f"Chapter {i}" for i in range(5)]
    assert document.dropped == {}


def test_a_line_that_stands_at_the_foot_of_a_page_now_and_then_is_text(
    parser: Parser, make: Callable[..., Path]
) -> None:
    def page(i: int) -> Callable[..., object]:
        last = "with table.open(path) as records:" if i % 8 == 0 else f"as it is said on page {'x' * i}"
        return together(html(f"<p>{prose(f'n{i}', 9)}</p>"), lines(last, size=9, y=770))

    document = parser.parse(make(*(page(i) for i in range(25))))
    assert sum("with table" in text for text in texts(document)) == 4
    assert document.dropped == {}


def test_words_divided_at_the_end_of_a_line_are_joined(parser: Parser, make: Callable[..., Path]) -> None:
    document = parser.parse(
        make(
            lines(
                "The transfor-",
                "mation of Rolls-",
                "Royce was self-",
                "evident in 1990-",
                "2000 and in the state-of-",
                "the-art machine",
            )
        )
    )
    assert texts(document) == [
        "The transformation of Rolls-Royce was self-evident in 1990- 2000 and in the state-of-the-art machine"
    ]
    assert document.dropped == {"hyphen": 1}


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ("the transfor-", "mation", "the transformation"),
        ("by ISO-", "standard", "by ISO-standard"),
        ("see https://example.org/some-", "path", "see https://example.org/some-path"),
        ("part XJ4a-", "beta", "part XJ4a-beta"),
        ("in my_file-", "name", "in my_file-name"),
        ("Cap.IV-", "bis", "Cap.IV-bis"),
        ("TRANS\xad", "FORM", "TRANSFORM"),
    ],
)
def test_a_hyphen_that_is_part_of_a_name_stays(first: str, second: str, joined: str) -> None:
    assert TextCleanup(Counter()).running(f"{first}\n{second} of it") == f"{joined} of it"


def test_words_in_capitals_are_joined_as_others_are() -> None:
    text = "NO WARRANTY TO THE EXTENT PERMIT-\nTED BY APPLICABLE LAW. A rule of ISO-\nEN holds, THE ISO-\nstandard."
    joined = (
        "NO WARRANTY TO THE EXTENT PERMITTED BY APPLICABLE LAW. A rule of ISO-EN holds, THE ISO-standard."
    )
    assert TextCleanup(Counter()).running(text) == joined


def test_ligatures_and_arabic_forms_are_spelled_out_and_what_shows_nothing_is_dropped_and_counted() -> None:
    dropped: Counter[str] = Counter()
    raw = ["e\ufb03cient \ufb01les", "\ufefb\xa0x\xadx", "\uf0b7 point\ufffd\ue123"]
    prose = TextCleanup(dropped)
    assert [prose.running(text) for text in raw] == ["efficient files", "\u0644\u0627 xx", "• point"]
    assert dropped == {"invisible": 1, "unknown": 2}


def test_a_paragraph_goes_on_over_the_page_with_its_divided_word(
    parser: Parser, make: Callable[..., Path]
) -> None:
    first = lines(*["This paragraph is so long that it must go on over the page"] * 4, "with a divi-", y=700)
    second = lines("ded word and the rest of it.", "More of the same until it ends.", y=60)
    document = parser.parse(make(first, second))
    one, two = blocks(document)
    assert one.text.endswith("with a divided")
    assert two.text.startswith("word and the rest")
    assert two.continues


def test_composed_letters_superscripts_and_wide_forms_keep_their_meaning(
    parser: Parser, make: Callable[..., Path]
) -> None:
    text = "Cafe\u0301 10\u00b2 m\u00b3 \u00a0and\u2003so １２３ ℃ \u200c"
    found = " ".join(texts(parser.parse(make(html(f"<p>{text}</p>")))))
    assert unicodedata.is_normalized("NFC", found)
    assert "Café 10² m³ and so １２３ ℃" in found


def test_headings_are_found_by_their_type_and_the_title_stands_beside_its_chapters(
    parser: Parser, make: Callable[..., Path]
) -> None:
    body = f"<p>{prose('body', 6)}</p>"
    css = "h1 {font-size: 24px} h2 {font-size: 17px} h3 {font-size: 11px; font-weight: bold}"
    text = f"<h1>All about harbours</h1>{body}<h2>Ships</h2>{body}<h3>Sails and oars</h3>{body}<h2>Quays</h2>{body}"
    document = parser.parse(make(html(text, css=css)))
    assert [(block.text, block.level) for block in blocks(document, "heading")] == [
        ("All about harbours", 1),
        ("Ships", 1),
        ("Sails and oars", 2),
        ("Quays", 1),
    ]
    assert document.metadata.title == "All about harbours"


def test_headings_of_one_size_take_their_level_from_their_numbers(
    parser: Parser, make: Callable[..., Path]
) -> None:
    body = f"<p>{prose('body', 4)}</p>"
    names = ["1 Sea", "1.1 Tides", "1.2 Waves", "1.2.1 Foam", "2 Land", "2.1 Hills"]
    text = "".join(f"<p><b>{name}</b></p>{body}" for name in names)
    document = parser.parse(make(html(text)))
    assert [(block.text, block.level) for block in blocks(document, "heading")] == [
        ("1 Sea", 1),
        ("1.1 Tides", 2),
        ("1.2 Waves", 2),
        ("1.2.1 Foam", 3),
        ("2 Land", 1),
        ("2.1 Hills", 2),
    ]


def test_sentences_of_an_annex_in_larger_type_are_no_headings(
    parser: Parser, make: Callable[..., Path]
) -> None:
    """The type of most text is that of the report; an attached contract may be set larger as a whole."""
    body = f"<p>{prose('body', 12)}</p>"
    annex = (
        "<h2>Annex A. Terms</h2>"
        "<h3>5. Tax Withholding.</h3>"
        "<h3>6. Compliance with Applicable Laws and Regulations of the Company.</h3>"
        "<h3>“Holder” means the person who has the award of the notice.</h3>"
        "<h3>(d) The holder pays the price in cash or by cheque;</h3>"
        "<h3>What does the holder pay for a share?</h3>"
    )
    css = "h2 {font-size: 17px} h3 {font-size: 14px; font-weight: normal}"
    document = parser.parse(make(html(f"{body}{annex}{body}", css=css)))
    assert texts(document, "heading") == [
        "Annex A. Terms",
        "5. Tax Withholding.",
        "6. Compliance with Applicable Laws and Regulations of the Company.",
        "What does the holder pay for a share?",
    ]
    assert "“Holder” means the person" in " ".join(texts(document))


def test_sentences_in_larger_type_of_east_asia_and_that_go_on_are_no_headings(
    parser: Parser, make: Callable[..., Path]
) -> None:
    """Manuals with much code have more text in its small type than in that of their sentences."""

    def draw(page: pymupdf.Page) -> None:
        html(f"<p>{prose('code', 12)}</p>", (60, 300, 540, 700))(page)
        page.insert_text((60, 60), "四種類の環境", fontsize=14, fontname="japan")
        page.insert_text((60, 100), "枠で囲んで出力します。", fontsize=14, fontname="japan")
        page.insert_text((60, 150), "Sale of Shares. The Option is", fontsize=14, fontname="hebo")
        page.insert_text((60, 174), "subject to the rules of the harbour", fontsize=14)
        page.insert_text((60, 230), "The share of the plans by class of assets is as follows:", fontsize=14)

    found = texts(parser.parse(make(draw)), "heading")
    assert [text for text in found if not text.startswith("subject to")] == ["四種類の環境"]


def test_an_answer_in_larger_type_that_gives_no_value_is_no_heading(
    parser: Parser, make: Callable[..., Path]
) -> None:
    css = "h3 {font-size: 14px; font-weight: normal}"
    form = f"<p>{prose('form', 9)}</p><h3>N/A</h3><p>{prose('next', 9)}</p><h3>Mooring</h3><p>Done.</p>"
    assert texts(parser.parse(make(html(form, css=css))), "heading") == ["Mooring"]


def test_the_outline_of_the_file_comes_before_the_type(parser: Parser, tmp_path: Path) -> None:
    path = tmp_path / "outline.pdf"
    with pymupdf.open() as document:
        for name in ("one", "two"):
            page = document.new_page(width=600, height=800)
            html(f"<p>Chapter of {name}</p><p>{prose(name, 5)}</p><p>Its detail</p><p>{prose(name, 5)}</p>")(
                page
            )
        document.set_toc(
            [[1, "Chapter of one", 1], [2, "Its detail", 1], [1, "Chapter of two", 2], [2, "Its detail", 2]]
        )
        document.save(path)
    found = [(block.text, block.level) for block in blocks(parser.parse(path), "heading")]
    assert found == [("Chapter of one", 1), ("Its detail", 2), ("Chapter of two", 1), ("Its detail", 2)]


TABLE = [
    ["Ship", "Tons", "Built"],
    ["Endurance", "348", "1912"],
    ["Fram", "402", "1892"],
    ["Gauss", "728", "1901"],
]
MARKDOWN = "\n".join(f"| {' | '.join(row)} |" for row in [TABLE[0], ["---"] * 3, *TABLE[1:]])


def table(page: pymupdf.Page, ruled: bool, x: float = 60, y: float = 300) -> None:
    for r, row in enumerate(TABLE):
        for c, cell in enumerate(row):
            page.insert_text((x + 5 + c * 120, y + 15 + r * 22), cell, fontsize=10)
    if ruled:
        for r in range(len(TABLE) + 1):
            page.draw_line((x, y + r * 22), (x + 360, y + r * 22))
        for c in range(4):
            page.draw_line((x + c * 120, y), (x + c * 120, y + len(TABLE) * 22))


@pytest.mark.parametrize("ruled", [True, False])
def test_tables_become_markdown_between_their_paragraphs(
    parser: Parser, make: Callable[..., Path], ruled: bool
) -> None:
    draw = together(
        html(f"<p>{prose('above', 5)}</p>", (60, 100, 540, 280)),
        lambda page: table(page, ruled),
        html(f"<p>{prose('below', 5)}</p>", (60, 450, 540, 700)),
    )
    document = parser.parse(make(draw))
    assert [block.kind for block in blocks(document)] == ["paragraph", "table", "paragraph"]
    assert texts(document, "table") == [MARKDOWN]
    box = blocks(document, "table")[0].box
    assert 55 < box.x0 < 70
    assert 300 < box.y0 < 315
    assert 380 < box.y1 < 400


def ruled_less(rows: Iterable[Iterable[str]], y: float, bold_head: bool = True) -> Callable[..., object]:
    def draw(page: pymupdf.Page) -> None:
        for r, row in enumerate(rows):
            for c, cell in enumerate(row):
                font = "hebo" if bold_head and r == 0 else "helv"
                page.insert_text((60 + c * 120, y + r * 22), cell, fontsize=10, fontname=font)

    return draw


SHIPS = [[f"Ship {i}", str(300 + i), str(1890 + i)] for i in range(30)]


@pytest.mark.parametrize("repeated", [True, False])
def test_a_table_that_goes_on_over_pages_is_joined_without_the_header_that_is_repeated(
    parser: Parser, make: Callable[..., Path], repeated: bool
) -> None:
    first = together(
        html(f"<p>{prose('above', 9)}</p>", (60, 60, 540, 280)), ruled_less([TABLE[0], *SHIPS[:15]], 450)
    )
    head = [TABLE[0]] if repeated else []
    second = together(
        ruled_less([*head, *SHIPS[15:]], 80, repeated),
        html(f"<p>{prose('below', 9)}</p>", (60, 560, 540, 780)),
    )
    document = parser.parse(make(first, second))
    one, two = blocks(document, "table")
    assert (one.continues, two.continues) == (False, True)
    rows = [row for table in (one, two) for row in table.text.split("\n")]
    assert rows == [f"| {' | '.join(row)} |" for row in [TABLE[0], ["---"] * 3, *SHIPS]]
    assert document.dropped == ({"table-header": 13} if repeated else {})


def test_a_table_below_another_on_the_next_page_keeps_its_own_header(
    parser: Parser, make: Callable[..., Path]
) -> None:
    harbours = [["Harbour", "Depth", "Since"], *SHIPS[15:]]
    document = parser.parse(make(ruled_less([TABLE[0], *SHIPS[:15]], 450), ruled_less(harbours, 80)))
    assert [table.continues for table in blocks(document, "table")] == [False, False]
    assert texts(document, "table")[1].startswith("| Harbour | Depth | Since |\n| --- |")


def _source_rows(name: str) -> list[str]:
    """The rows of all tables of a sample, from the Markdown that it was set from."""
    lines = (SAMPLES / "make" / "texts" / f"{name}.md").read_text().split("\n")
    return [_bare(line) for line in lines if line.startswith("|") and set(line) - set("|-: ")]


def _bare(row: str) -> str:
    """A row without mark-up and white space, quotes and dashes as typed."""
    row = re.sub(r"[*_`\s]", "", unicodedata.normalize("NFKC", row))
    return row.translate(str.maketrans("’“”–−‐", '\'""---'))


@pytest.mark.parametrize(
    ("sample", "source"),
    [
        ("tea-ja", "cha-ja"),
        ("line-telemetry", "line-telemetry"),
        ("sourdough", "sourdough"),
        ("tides", "tides"),
        ("weather-station", "weather-station"),
    ],
)
def test_every_row_of_the_tables_in_the_samples_is_read_as_it_was_written(
    parser: Parser, sample: str, source: str
) -> None:
    found = texts(parser.parse(SAMPLES / f"{sample}.pdf"), "table")
    rows = [_bare(row) for table in found for row in table.split("\n")]
    assert [row for row in rows if set(row) - set("|-")] == _source_rows(source)


def test_every_line_of_a_paragraph_is_known(parser: Parser, make: Callable[..., Path]) -> None:
    written = [
        "The first line of it goes",
        "on and is joined with-",
        "out a hyphen to what comes and",
        "ends.",
    ]
    (block,) = blocks(parser.parse(make(lines(*written))))
    starts = (0, *block.ends)
    parts = [block.text[a:b] for a, b in zip(starts, (*block.ends, None), strict=True)]
    assert parts == [
        "The first line of it goes ",
        "on and is joined with",
        "out a hyphen to what comes and ",
        "ends.",
    ]
    assert block.text == "".join(parts)


def test_cells_of_several_lines_stay_cells_even_beside_another_column(parser: Parser) -> None:
    (found,) = texts(parser.parse(SAMPLES / "tides.pdf"), "table")
    assert found.split("\n")[:3] == [
        "| Name | Cause | Period, hours | Strength |",
        "| --- | --- | --- | --- |",
        "| M2 | Moon, main, twice daily | 12.4206 | 100.0 |",
    ]
    assert found.split("\n")[-1] == "| M4 | Shallow-water overtide | 6.2103 | none |"


def test_a_form_gives_labels_with_their_values(parser: Parser) -> None:
    document = parser.parse(SAMPLES / "invoice.pdf")
    assert "| Reason | Mouth dented in transport, does not stand level |" in texts(document, "table")[-1]


def test_japanese_lines_join_without_spaces_and_hebrew_keeps_its_order(parser: Parser) -> None:
    japanese = parser.parse(SAMPLES / "tea-ja.pdf")
    assert any("ツバキ科の常緑樹" in text for text in texts(japanese))
    hebrew = parser.parse(SAMPLES / "dead-sea-he.pdf")
    assert texts(hebrew)[0] == "ים המלח"
    assert "כ־434 מטרים מתחת לפני הים" in " ".join(texts(hebrew))


def test_footnotes_are_notes_and_the_text_goes_on_without_them(parser: Parser) -> None:
    document = parser.parse(SAMPLES / "tides.pdf")
    assert [text[:2] for text in texts(document, "note")] == ["1 ", "2 ", "3 ", "4 "]
    page = document.pages[0].blocks
    note = next(i for i, block in enumerate(page) if block.kind == "note")
    assert page[note - 1].text.endswith("the pull at a given place and")
    assert page[note + 1].text.startswith("the pull at the centre")
    assert page[note + 1].continues


def test_pages_turned_by_rotation_are_read_upright(parser: Parser, tmp_path: Path) -> None:
    path = tmp_path / "turned.pdf"
    with pymupdf.open() as document:
        page = document.new_page(width=600, height=800)
        page.set_rotation(90)
        for i in range(3):
            page.insert_text(
                pymupdf.Point(60, 100 + i * 14) * page.derotation_matrix, f"Line {i}.", rotate=90
            )
        document.save(path)
    (page,) = parser.parse(path).pages
    assert (page.width, page.height) == (800, 600)
    assert " ".join(block.text for block in page.blocks) == "Line 0. Line 1. Line 2."


def test_metadata(parser: Parser, make: Callable[..., Path]) -> None:
    document = parser.parse(
        make(
            lines("Text."),
            title=" The\ttitle ",
            author="A. N. Author",
            creationDate="D:20240229123015+02'00'",
            modDate="junk",
        )
    )
    about = document.metadata
    assert (about.title, about.author, about.modified) == ("The title", "A. N. Author", None)
    assert about.created == datetime(2024, 2, 29, 12, 30, 15, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("D:2024", datetime(2024, 1, 1, tzinfo=UTC)),
        ("20240102", datetime(2024, 1, 2, tzinfo=UTC)),
        ("D:20240102030405Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (
            "D:20240102030405-05'30",
            datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone(-timedelta(hours=5, minutes=30))),
        ),
        ("D:20241302", None),
        ("D:20240102030405+99'00'", None),
        ("D:00010101000000+14'00'", None),  # in UTC before the first year
        ("D:99991231235959-01'00'", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_dates_of_pdf(text: str, date: datetime | None) -> None:
    assert read_date(text) == date


def test_an_empty_page_is_read_and_has_no_text(parser: Parser, make: Callable[..., Path]) -> None:
    document = parser.parse(make(lambda page: None, lines("Text.")))
    assert [len(page.blocks) for page in document.pages] == [0, 1]
    assert document.problems == ()


def test_type_too_small_to_measure_is_read_like_any_other(parser: Parser, make: Callable[..., Path]) -> None:
    def draw(page: pymupdf.Page) -> None:
        for row in range(6):
            for column in range(3):
                page.insert_text((60 + column * 0.6, 100 + row * 0.06), f"cell{row}{column}", fontsize=0.04)

    found = " ".join(texts(parser.parse(make(draw, lines("Text.")))))
    assert {f"cell{row}{column}" for row in range(6) for column in range(3)} <= set(found.split())


# What is read must be what MuPDF finds, except the characters that a counted rule drops, and hyphens.

WORDS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)


@st.composite
def drawings(draw: st.DrawFn) -> list[tuple[float, float, float, str]]:
    """Lines anywhere on the page, in columns, rows or heaps, in several sizes."""
    found = []
    for _ in range(draw(st.integers(1, 12))):
        x, y = draw(st.integers(5, 480)), draw(st.integers(20, 760))
        size = draw(st.sampled_from((7, 9, 11, 11, 11, 14, 20)))
        for i in range(draw(st.integers(1, 8))):
            text = " ".join(draw(st.lists(WORDS, min_size=1, max_size=8))) + draw(
                st.sampled_from(("", ".", "-", " 12"))
            )
            across = draw(st.sampled_from((0, 0, 0, 100, 250)))
            found.append((x + across, y + i * size * draw(st.sampled_from((1.1, 1.3, 2.0))), size, text))
    return found


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pages=st.lists(drawings(), min_size=1, max_size=5))
def test_no_letter_is_lost_or_doubled(
    pages: list[list[tuple[float, float, float, str]]], parser: Parser, tmp_path: Path
) -> None:
    path = tmp_path / "any.pdf"
    with pymupdf.open() as made:
        for drawing in pages:
            page = made.new_page(width=600, height=800)
            for x, y, size, text in drawing:
                page.insert_text((x, y), text, fontsize=size)
        made.save(path)
        assert _unexplained(parser.parse(path), made) == (0, 0)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.pdf")))
def test_no_letter_of_the_samples_is_lost_or_doubled(parser: Parser, name: str) -> None:
    with pymupdf.open(SAMPLES / name) as made:
        assert _unexplained(parser.parse(SAMPLES / name, ParseOptions(ocr="off")), made) == (0, 0)


def _unexplained(document: ParsedDocument, made: pymupdf.Document) -> tuple[int, int]:
    """Letters and digits that are missing without a rule that dropped so many, and those that are too many.

    PyMuPDF leaves out letters that stand half outside of the page; they may be there.
    """
    flags = pymupdf.TEXT_CLIP
    before = _letters("".join(page.get_text(flags=flags) for page in made))
    most = _letters("".join(page.get_text(clip=pymupdf.INFINITE_RECT(), flags=flags) for page in made))
    after = _letters("".join(texts(document)))
    rules = sum(
        document.dropped.get(rule, 0)
        for rule in ("header", "footer", "page-number", "garbled", "table-header", "copy", "line-number")
    )
    missing = sum((before - after).values())
    return max(0, missing - rules), sum((after - most).values())


def _letters(text: str) -> Counter[str]:
    return Counter(c for c in unicodedata.normalize("NFKC", text) if c.isalnum())


@pytest.mark.parametrize("crop", ["1000 1000 1200 1200", "-500 -500 -100 -100", "612 0 700 792", "0 0 0 0"])
@pytest.mark.sampled(2)
def test_a_page_whose_crop_box_shows_nothing_of_it_is_read_and_drawn_whole(tmp_path: Path, crop: str) -> None:
    plain, cropped = tmp_path / "plain.pdf", tmp_path / "cropped.pdf"
    with pymupdf.open() as made:
        page = made.new_page(width=612, height=792)
        page.insert_text((72, 100), "The needle stands here.")
        made.save(plain)
        # Inherited, as pages may have it.
        parent = int(made.xref_get_key(page.xref, "Parent")[1].split()[0])
        made.xref_set_key(parent, "CropBox", f"[{crop}]")
        made.save(cropped)
    with Parser() as parser:
        whole, other = parser.parse(plain), parser.parse(cropped)
        assert "The needle" in str(whole.pages[0].blocks)
        assert other.pages[0].blocks == whole.pages[0].blocks
        assert parser.picture(cropped, 1, dpi=72).png == parser.picture(plain, 1, dpi=72).png
