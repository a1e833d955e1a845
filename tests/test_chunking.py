"""Chunks: nothing lost, nothing too long, in order, by structure, and the same after an edit elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_ollama.blocks.documents.chunk import Chunk
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.tasks.chunking import (
    ChunkOptions,
    chunk_document,
    estimate_tokens,
    renumbered,
    sentences,
    split_chunk,
)
from prefect_ollama.tasks.parsing import Block, Box, Page, ParsedDocument


def document(*pages: list[Block]) -> ParsedDocument:
    return ParsedDocument(
        tuple(Page(i + 1, 600, 800, tuple(blocks)) for i, blocks in enumerate(pages)), len(pages)
    )


def paragraph(text: str, y: float = 100, continues: bool = False, ends: tuple[int, ...] = ()) -> Block:
    return Block("paragraph", text, Box(70, y, 500, y + 20), continues=continues, ends=ends)


def heading(text: str, level: int = 1) -> Block:
    return Block("heading", text, Box(70, 80, 500, 98), level)


def words(text: str) -> int:
    """Count tokens as a tokenizer of words would, with a mark at each end."""
    return len(text.split()) + 2


def squeezed(text: str) -> str:
    return "".join(text.split())


SCRIPTS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFG0123456789",
    "äöüéñçßøåœ",
    "αβγδεζηθ",
    "абвгдежзик",
    "汉字漢字仮名交じり文章",
    "ひらがなカタカナ",
    "กขคงจฉชซ่้์ิ",
    "אבגדהוזחט",
    "ابتثجحخد",
    "한국어문장",
    "e\u0301a\u0308\u200d👩\u200d👧🗼",
)
ENDS = (".", "!", "?", "。", "！", "؟", "।", ";", ",", "")


@st.composite
def sentence(draw: st.DrawFn) -> str:
    letters = draw(st.sampled_from(SCRIPTS))
    word = st.text(letters, min_size=1, max_size=12)
    return " ".join(draw(st.lists(word, min_size=1, max_size=30))) + draw(st.sampled_from(ENDS))


@st.composite
def blocks(draw: st.DrawFn) -> list[Block]:
    found: list[Block] = []
    for i in range(draw(st.integers(1, 12))):
        kind = draw(
            st.sampled_from(("paragraph", "paragraph", "paragraph", "heading", "continued", "table", "note"))
        )
        if kind == "table":
            rows = draw(st.integers(2, 25))
            body = [f"| r{i}.{row} | {draw(sentence())} |" for row in range(rows)]
            continues = bool(found) and found[-1].kind == "table" and draw(st.booleans())
            head = [] if continues else [f"| head{i} | b |", "| --- | --- |"]
            found.append(Block("table", "\n".join([*head, *body]), Box(1, 2, 3, 4), 0, continues))
            continue
        text = " ".join(f"<{i}.{k}>{draw(sentence())}" for k in range(draw(st.integers(1, 6))))
        if kind == "heading":
            found.append(heading(text[:150].strip(), draw(st.integers(1, 3))))
        elif kind == "note":
            found.append(Block("note", text, Box(1, 2, 3, 4)))
        else:
            ends = tuple(range(1, len(text), draw(st.integers(5, 60))))
            continues = kind == "continued" and bool(found) and found[-1].kind == "paragraph"
            found.append(paragraph(text, continues=continues, ends=ends))
    return found


OPTIONS = st.builds(
    lambda target, more, overlap, least: ChunkOptions(
        target, target + more, min(overlap, target - 1), min(least, target // 2)
    ),
    st.integers(16, 200),
    st.integers(0, 60),
    st.integers(0, 30),
    st.integers(0, 40),
)
COUNTERS: tuple[Callable[[str], int], ...] = (
    estimate_tokens,
    words,
    len,
    lambda text: 2 + len(text.encode()) // 3,
)


def in_reading_order(found: list[Block]) -> list[Block]:
    """Footnotes come after the paragraph that they interrupt."""
    ordered: list[Block] = []
    notes: list[Block] = []
    for block in found:
        if block.kind == "note":
            notes.append(block)
            continue
        if not block.continues:
            ordered += notes
            notes = []
        ordered.append(block)
    return ordered + notes


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(blocks(), min_size=1, max_size=3), OPTIONS, st.sampled_from(COUNTERS))
def test_nothing_is_lost_doubled_or_out_of_order_and_no_chunk_is_too_long(
    pages: list[list[Block]], options: ChunkOptions, count: Callable[[str], int]
) -> None:
    chunks = chunk_document(document(*pages), options, count)
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
    whole = squeezed("".join(block.text for block in in_reading_order([b for page in pages for b in page])))
    at = 0
    for chunk in chunks:
        assert count(chunk.text) <= options.max_tokens or len(chunk.text) == 1
        assert 1 <= chunk.page_from <= chunk.page_to <= len(pages)
        assert {region.page for region in chunk.regions} >= {chunk.page_from, chunk.page_to}
        text = squeezed(chunk.text)
        begins = _place(whole, text, at)
        if (
            begins is None
        ):  # It repeats the heading of its section, or the two rows of the header of its table.
            header = squeezed("\n".join(chunk.text.split("\n")[:2]))
            assert header in whole
            text = text[len(header) :]
            begins = _place(whole, text, at)
        assert begins is not None
        at = begins + len(text)
    assert not any(map(str.isalnum, whole[at:]))
    assert chunks == chunk_document(document(*pages), options, count)


def _place(whole: str, text: str, at: int) -> int | None:
    """Where a chunk stands that may begin with the end of the one before, but must go on where that ended.

    Signs may be left out between the two, because no chunk is made of signs alone.
    """
    last = next((place for place in range(at, len(whole)) if whole[place].isalnum()), at)
    for begins in range(last, max(-1, at - len(text)), -1):
        if whole.startswith(text, begins):
            return begins
    return None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 60))
@pytest.mark.slow
def test_an_edit_leaves_distant_chunks_as_they_were(seed: int, place: int) -> None:
    def text(i: int, salt: int) -> str:
        return " ".join(
            f"Sentence {i}.{k} of run {salt} tells what happened to the {k + i} ships."
            for k in range(2 + (i * 7 + salt) % 5)
        )

    before = [paragraph(text(i, seed)) for i in range(200)]
    after = [*before[:place], paragraph("Something new. " + text(place, seed + 1)), *before[place + 1 :]]
    old, new = (chunk_document(document(page)) for page in (before, after))
    far = f"Sentence {place + 60}.0 "
    first = next(i for i, chunk in enumerate(old) if far in chunk.text)
    assert [c.text for c in old[first:]] == [c.text for c in new[len(new) - len(old) + first :]]
    near = next(i for i, chunk in enumerate(old) if f"Sentence {place}.0 " in chunk.text)
    assert [c.text for c in old[: max(0, near - 4)]] == [c.text for c in new[: max(0, near - 4)]]


def _prose(name: str, sentences: int) -> str:
    return " ".join(f"Here {name} says its sentence number {i} about the matter." for i in range(sentences))


def test_no_chunk_reaches_over_a_chapter_and_headings_stay_with_their_text() -> None:
    page = []
    for chapter in range(4):
        page += [heading(f"Chapter {chapter}"), paragraph(_prose(f"c{chapter}", 9))]
        page += [heading(f"Section {chapter}.1", 2), paragraph(_prose(f"s{chapter}", 25))]
    chunks = chunk_document(document(page))
    for chunk in chunks:
        assert len({word[1] for word in chunk.text.split() if word[:1] in "cs" and word[1:].isdigit()}) == 1
        assert not chunk.text.rstrip().endswith(tuple(f"Section {i}.1" for i in range(4)))
    assert chunks[0].heading == "Chapter 0"
    assert "Chapter 2 > Section 2.1" in {chunk.heading for chunk in chunks}
    sections = [chunk for chunk in chunks if "Section" in chunk.heading]
    assert all(
        chunk.text.startswith("Section")
        for chunk in sections
        if chunk.heading != "" and "number 0 " in chunk.text
    )


def test_a_chunk_within_a_section_begins_with_its_heading_and_the_last_sentences_of_the_one_before() -> None:
    page = [heading("One"), paragraph(_prose("first", 60)), heading("Two"), paragraph(_prose("second", 60))]
    chunks = chunk_document(document(page), ChunkOptions(overlap_tokens=40))
    for before, after in pairwise(chunks):
        if before.heading != after.heading:
            continue
        assert after.text.startswith(f"{after.heading}\n\n")
        first, second = after.text.removeprefix(f"{after.heading}\n\n").split(". ")[:2]
        assert before.text.endswith(f"{first}.") or before.text.endswith(f"{first}. {second}.")
    assert not any("first" in chunk.text and "second" in chunk.text for chunk in chunks)
    plain = chunk_document(document(page), ChunkOptions(overlap_tokens=0))
    bodies = [chunk.text.removeprefix(f"{chunk.heading}\n\n") for chunk in plain]
    assert squeezed("".join(bodies)) == squeezed(page[1].text + page[3].text)


def test_no_chunk_is_a_few_words_alone() -> None:
    page = []
    for i in range(30):
        page += [
            heading(f"Point {i}", 1 + i % 2),
            paragraph("Short and done." if i % 3 else _prose(f"p{i}", 8)),
        ]
    chunks = chunk_document(document(page))
    assert min(chunk.tokens for chunk in chunks) >= ChunkOptions().min_tokens
    assert len(chunk_document(document([paragraph("All there is.")]))) == 1
    assert chunk_document(document([])) == []


def test_a_table_is_kept_whole_and_a_long_one_repeats_its_header() -> None:
    def table(rows: int) -> Block:
        body = [f"| item {i} | {i * 3} pieces in the box |" for i in range(rows)]
        return Block(
            "table", "\n".join(["| Name | Number |", "| --- | --- |", *body]), Box(70, 200, 500, 400)
        )

    around = [paragraph(_prose("a", 14)), table(5), paragraph(_prose("b", 14))]
    chunks = chunk_document(document(around))
    assert any(table(5).text in chunk.text for chunk in chunks)
    long = chunk_document(document([table(100)]))
    assert len(long) > 4
    assert all(chunk.text.startswith("| Name | Number |\n| --- | --- |\n| item") for chunk in long)
    rows = [line for chunk in long for line in chunk.text.split("\n")[2:]]
    assert [row.split()[2] for row in rows] == [str(i) for i in range(100)]


def test_a_table_that_goes_on_over_pages_is_one_table() -> None:
    def part(rows: range, continues: bool) -> Block:
        lines = [f"| item {i} | {i * 3} pieces in the box |" for i in rows]
        head = [] if continues else ["| Name | Number |", "| --- | --- |"]
        return Block("table", "\n".join([*head, *lines]), Box(70, 100, 500, 400), 0, continues)

    note = Block("note", "1 A note at the foot.", Box(70, 770, 500, 780))
    (whole,) = chunk_document(
        document([part(range(3), False), note], [part(range(3, 6), True)]), ChunkOptions(300, 400)
    )
    rows = [line.split()[2] for line in whole.text.split("\n\n")[0].split("\n")[2:]]
    assert rows == [str(i) for i in range(6)]
    assert (whole.page_from, whole.page_to) == (1, 2)
    assert {region.page for region in whole.regions} == {1, 2}

    chunks = chunk_document(document(*([part(range(i * 30, i * 30 + 30), i > 0)] for i in range(4))))
    assert all(chunk.text.startswith("| Name | Number |\n| --- | --- |\n| item") for chunk in chunks)
    rows = [line.split()[2] for chunk in chunks for line in chunk.text.split("\n")[2:]]
    assert rows == [str(i) for i in range(120)]
    for chunk in chunks:
        items = [int(line.split()[2]) for line in chunk.text.split("\n")[2:]]
        assert (chunk.page_from, chunk.page_to) == (items[0] // 30 + 1, items[-1] // 30 + 1)


def test_a_chunk_marks_its_own_lines_of_a_paragraph_and_its_own_rows_of_a_table() -> None:
    lines = [f"Line number {i} of the text says what there is to say." for i in range(40)]
    text = " ".join(lines)
    ends = tuple(sum(len(line) + 1 for line in lines[: i + 1]) for i in range(39))
    block = Block("paragraph", text, Box(70, 100, 500, 500), ends=ends)
    chunks = chunk_document(document([block]), ChunkOptions(overlap_tokens=0))
    assert len(chunks) > 2
    for chunk in chunks:
        numbers = [int(word) for word in chunk.text.split() if word.isdigit()]
        (region,) = chunk.regions
        assert (region.x0, region.y0, region.x1, region.y1) == pytest.approx(
            (70, 100 + 10 * numbers[0], 500, 110 + 10 * numbers[-1])
        )
    rows = ["| Name | Number |", "| --- | --- |", *(f"| item {i} | {i} pieces of it |" for i in range(39))]
    table = Block("table", "\n".join(rows), Box(70, 100, 500, 500))
    for chunk in chunk_document(document([table])):
        numbers = [int(row.split()[2]) for row in chunk.text.split("\n")[2:]]
        (region,) = chunk.regions
        first = 0 if numbers[0] == 0 else numbers[0] + 1
        assert (region.y0, region.y1) == pytest.approx((100 + 10 * first, 120 + 10 * numbers[-1]))


@pytest.mark.parametrize(
    "text",
    [
        "茶の味は主に三つの成分から成る。うま味のもとはテアニンというアミノ酸である。" * 40,
        "ภาษาไทยเขียนติดกันโดยไม่เว้นวรรคระหว่างคำ " * 40,
        "ים המלח הוא אגם מלוח בין ישראל לירדן. חופיו הם המקום הנמוך ביותר. " * 30,
        "中文没有空格也没有任何标点符号连续不断" * 60,
        "x" * 5000,
        "e\u0301" * 2000,
    ],
)
def test_texts_without_spaces_are_divided_where_a_reader_would(text: str) -> None:
    chunks = chunk_document(document([paragraph(text)]), ChunkOptions(overlap_tokens=0))
    assert len(chunks) > 2
    assert "".join(squeezed(chunk.text) for chunk in chunks) == squeezed(text)
    assert all(estimate_tokens(chunk.text) <= 256 for chunk in chunks)
    assert not any(chunk.text[0] in "\u0301\u0e48\u0e49\u0e34" for chunk in chunks)
    if "。" in text:
        assert all(chunk.text.endswith("。") for chunk in chunks)


def test_pages_and_rectangles_go_with_the_chunk() -> None:
    first = paragraph(_prose("a", 4) + " It goes on", y=700)
    note = Block("note", "1 A note at the foot.", Box(70, 770, 500, 780))
    second = paragraph("over the page. " + _prose("b", 4), y=50, continues=True)
    (chunk,) = chunk_document(document([first, note], [second]))
    assert (chunk.page_from, chunk.page_to) == (1, 2)
    assert "goes on over the page" in chunk.text
    assert chunk.text.endswith("A note at the foot.")
    assert {(r.page, r.y0) for r in chunk.regions} == {(1, 700), (2, 50), (1, 770)}


def test_a_chunk_that_is_too_long_for_a_node_is_split_and_nothing_of_it_is_lost() -> None:
    (chunk,) = chunk_document(document([paragraph(_prose("a", 12))]), ChunkOptions(200, 400))
    parts = split_chunk(chunk)
    assert len(parts) == 2
    assert squeezed("".join(part.text for part in parts)) == squeezed(chunk.text)
    assert all(part.text.endswith(".") for part in parts)
    assert all(part.tokens < chunk.tokens for part in parts)
    assert [c.position for c in renumbered([*parts, chunk])] == [0, 1, 2]
    single = Chunk("x", 0, 1, 1)
    assert split_chunk(single) == [single]


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=2))
def test_splitting_ends_and_loses_nothing(text: str) -> None:
    parts = split_chunk(Chunk(text, 0, 1, 1, tokens=50))
    assert squeezed("".join(part.text for part in parts)) == squeezed(text)
    assert all(len(part.text) < len(text) for part in parts)


def test_a_long_row_of_dots_is_divided_in_linear_time() -> None:
    text = "Contents" + "." * 200_000 + " 12. Index?! A" + "?!" * 100_000
    assert list(sentences(text)) == [text[:200_009], "12. ", "Index?! ", "A" + "?!" * 100_000]


def test_abbreviations_do_not_end_a_sentence() -> None:
    from prefect_ollama.tasks.chunking._sentences import sentences

    text = "Dr. Smith (cf. Fig. 3) met J. R. Hartley, i.e. the author. He left at 3.15 p.m. sharp! Did he? “Yes.” So…"
    assert [part.strip() for part in sentences(text)] == [
        "Dr. Smith (cf. Fig. 3) met J. R. Hartley, i.e. the author.",
        "He left at 3.15 p.m. sharp!",
        "Did he?",
        "“Yes.”",
        "So…",
    ]


def test_months_and_numbers_with_a_full_stop_do_not_end_a_sentence() -> None:
    from prefect_ollama.tasks.chunking._sentences import sentences

    text = "Oct. 24 is a holiday (see No. 7). It rained in Oct. The school of Gen. Smith was closed."
    assert [part.strip() for part in sentences(text)] == [
        "Oct. 24 is a holiday (see No. 7).",
        "It rained in Oct.",
        "The school of Gen. Smith was closed.",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"target_tokens": 300},
        {"overlap_tokens": 200},
        {"overlap_tokens": -1},
        {"min_tokens": 150},
        {"target_tokens": 4, "max_tokens": 8, "overlap_tokens": 0, "min_tokens": 0},
    ],
)
def test_sizes_that_contradict_each_other_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="must be"):
        ChunkOptions(**wrong)
