"""Pages as pictures with passages marked, and documents as Markdown: drawn within limits, also of hostile files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pymupdf
import pytest

from prefect_ollama.blocks.documents import Chunk, EmbeddedDocument, Region
from prefect_ollama.blocks.errors import DocumentError
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.commands import app
from prefect_ollama.pictures import picture_name
from prefect_ollama.tasks.parsing import Block, Box, Page, ParsedDocument, ParseOptions, Parser, to_markdown
from tests.flow_samples import write_pdf
from tests.store_samples import IDENTITY, document, vector_of
from tests.text_format import TextFormat

MARK = Region(1, 100, 200, 300, 240)


def pixels(png: bytes) -> np.ndarray:
    picture = pymupdf.Pixmap(png)
    assert picture.n == 3
    return np.frombuffer(picture.samples, np.uint8).reshape(picture.height, picture.width, 3)


def marked(png: bytes) -> np.ndarray:
    """Where a picture is yellow: more red than blue by far."""
    found = pixels(png).astype(int)
    return found[..., 0] - found[..., 2] > 40


def test_the_passage_is_marked_where_it_stands(tmp_path: Path) -> None:
    file = write_pdf(tmp_path / "a.pdf", ["one", "two"])
    with Parser() as parser:
        plain, png = parser.picture(file, 1, dpi=72).png, parser.picture(file, 1, [MARK], dpi=72).png
        other = parser.picture(file, 2, [MARK], dpi=72).png
    assert not marked(plain).any()
    assert not marked(other).any()
    rows, columns = np.nonzero(marked(png))
    assert abs(rows.min() - MARK.y0) < 6
    assert abs(rows.max() - MARK.y1) < 6
    assert abs(columns.min() - MARK.x0) < 6
    assert abs(columns.max() - MARK.x1) < 6


@pytest.mark.parametrize("turned", [90, 180, 270])
@pytest.mark.sampled(1)
def test_a_turned_page_is_marked_where_its_text_was_found(tmp_path: Path, turned: int) -> None:
    file = tmp_path / "turned.pdf"
    with pymupdf.open() as made:
        page = made.new_page(width=400, height=600)
        page.insert_text((60, 80), "The needle in this page", fontsize=14)
        page.set_rotation(turned)
        made.save(file)
    with Parser() as parser:
        (block,) = parser.parse(file).pages[0].blocks
        box = Region(1, *block.box)
        png = parser.picture(file, 1, [box], dpi=72).png
    ink = (pixels(png).max(axis=2) < 100) & ~marked(png)
    rows, columns = np.nonzero(pixels(png).max(axis=2) < 100)
    assert len(rows)
    inside = (rows >= box.y0 - 3) & (rows <= box.y1 + 3) & (columns >= box.x0 - 3) & (columns <= box.x1 + 3)
    assert inside.mean() > 0.95
    assert ink.sum() < len(rows) + 1


def test_a_large_page_is_drawn_small_and_a_missing_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "poster.pdf"
    with pymupdf.open() as made:
        made.new_page(width=14_000, height=14_000)
        made.save(file)
    with Parser() as parser:
        assert pixels(parser.picture(file, 1, dpi=300).png).shape[0] < 3_000
        with pytest.raises(DocumentError, match="no page 2") as caught:
            parser.picture(file, 2)
        assert caught.value.kind == "page"
        with pytest.raises(DocumentError, match="no such file"):
            parser.picture(tmp_path / "gone.pdf", 1)
        assert parser.picture(file, 1, dpi=72).png  # the process goes on


@pytest.mark.slow
def test_a_page_that_takes_too_long_to_draw_is_given_up(tmp_path: Path) -> None:
    file = tmp_path / "loop.pdf"
    with pymupdf.open() as made:
        page = made.new_page()
        page.draw_rect(page.rect)
        form = made.get_new_xref()
        # A form of sixteen of the form below it, eight deep: 4 billion rectangles.
        made.update_object(form, "<</Type/XObject/Subtype/Form/BBox[0 0 600 800]>>")
        made.update_stream(form, b"0 0 600 800 re f " * 50)
        for _ in range(8):
            outer = made.get_new_xref()
            made.update_object(
                outer,
                f"<</Type/XObject/Subtype/Form/BBox[0 0 600 800]/Resources<</XObject<</F {form} 0 R>>>>>>",
            )
            made.update_stream(outer, b"/F Do " * 16)
            form = outer
        made.xref_set_key(page.xref, "Resources", f"<</XObject<</F {form} 0 R>>>>")
        made.update_stream(page.get_contents()[0], b"/F Do")
        made.save(file)
    with Parser() as parser:
        with pytest.raises(DocumentError) as caught:
            parser.picture(file, 1, options=ParseOptions(cpu_seconds=1, wall_seconds=20))
        assert caught.value.kind in ("cpu-time", "wall-time")
        assert parser.picture(write_pdf(tmp_path / "a.pdf", ["one"]), 1).png


def test_a_format_without_pictures_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n")
    with Parser(TextFormat()) as parser:
        with pytest.raises(DocumentError, match="cannot be drawn") as caught:
            parser.picture(tmp_path / "a.txt", 1)
        assert caught.value.kind == "no-picture"
        assert parser.parse(tmp_path / "a.txt").pages


def page(number: int, *blocks: Block) -> Page:
    return Page(number, 600, 800, blocks)


def block(kind: str, text: str, **more: object) -> Block:
    return Block(kind, text, Box(0, 0, 1, 1), **more)  # type: ignore[arg-type]


def test_a_document_as_markdown() -> None:
    text = to_markdown(
        ParsedDocument(
            (
                page(1, block("heading", "Tides", level=1), block("paragraph", "It begins")),
                page(
                    2,
                    block("paragraph", "and ends.", continues=True),
                    block("table", "| a | b |\n|---|---|\n| 1 | 2 |"),
                ),
                page(
                    3,
                    block("table", "| 3 | 4 |", continues=True),
                    block("note", "1 A note."),
                    block("heading", "Deep", level=9),
                ),
                page(4),
                page(
                    5,
                    block("paragraph", "# no heading <b>"),
                    block("paragraph", "3. no list"),
                    block("paragraph", "--- "),
                ),
            ),
            5,
        )
    )
    assert text.split("\n\n") == [
        "<!-- page 1 -->",
        "# Tides",
        "It begins and ends.",
        "<!-- page 2 -->",
        "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |",
        "<!-- page 3 -->",
        "> 1 A note.",
        "###### Deep",
        "<!-- page 4 -->",
        "<!-- page 5 -->",
        "\\# no heading \\<b>",
        "3\\. no list",
        "\\--- \n",
    ]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> StoreSpec:
    """A table of one file that is there, one that is gone and one that could not be read."""
    papers = tmp_path_factory.mktemp("papers")
    write_pdf(papers / "sub" / "there.pdf", ["The lantern is lit.", "The harbour is quiet."])
    spec = StoreSpec(str(tmp_path_factory.mktemp("db")), "documents")
    store = Store.open(spec, identity=IDENTITY, create=True)
    store.begin_run("0198c2f4-7d1e", str(papers))
    there = [
        Chunk("The lantern is lit.", 0, 1, 1, "Light", (MARK,), 5, "There: The lantern is lit.", "iv", "iv")
    ]
    gone = [Chunk("A lantern that is gone.", 0, 3, 3, "", (Region(3, 1, 2, 3, 4),), 5)]
    store.write(
        [
            EmbeddedDocument(
                document(name, str(papers), pages=2),
                chunks,
                np.stack([vector_of(each.text) for each in chunks]),
            )
            for name, chunks in (("sub/there.pdf", there), ("gone.pdf", gone))
        ]
    )
    failed = {"status": "failed", "kind": "encrypted", "reason": "It is encrypted.", "remedy": "Give it."}
    store.record([document("locked.pdf", str(papers), **failed)])
    store.end_run()
    return spec


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = app([*arguments], result_action="return_value")
    told = capsys.readouterr()
    return status, told.out, told.err


def test_search_writes_the_pages_of_hits(
    capsys: pytest.CaptureFixture[str], library: StoreSpec, tmp_path: Path
) -> None:
    at = ("--uri", library.uri, "--mode", "text", "--show", str(tmp_path / "new" / "pictures"))
    status, out, error = run(capsys, "search", "lantern", *at, "--json")
    assert status == 0
    files = {hit["path"]: hit["pictures"] for hit in json.loads(out)}
    assert files["gone.pdf"] == []
    assert "gone.pdf" in error
    assert "no such file" in error
    (file,) = files["sub/there.pdf"]
    assert marked(Path(file).read_bytes()).any()
    assert Path(file).name.endswith("-there-page-1.png")
    status, out, _ = run(capsys, "search", "lantern", *at)
    assert Path(file).name in "".join(out.split())


def test_a_picture_has_a_plain_name() -> None:
    assert picture_name("../a/it's $HOME; rm -rf.pdf", 3, 12) == "03-it-s-HOME-rm--rf-page-12.png"
    assert picture_name("日本語.pdf", 1, 1, 2) == "2-01-日本語-page-1.png"
    assert picture_name("....pdf", 1, 1) == "01-document-page-1.png"


def test_documents_are_listed_with_their_problems(
    capsys: pytest.CaptureFixture[str], library: StoreSpec
) -> None:
    status, out, _ = run(capsys, "documents", "--uri", library.uri, "--json")
    rows = {row["path"]: row for row in json.loads(out)}
    assert status == 0
    assert list(rows) == ["gone.pdf", "locked.pdf", "sub/there.pdf"]
    there = rows["sub/there.pdf"]
    assert (there["pages"], there["chunks"], there["run_id"], there["title"]) == (
        2,
        1,
        "0198c2f4-7d1e",
        "On sub/there.pdf",
    )
    assert there["file"].endswith("/sub/there.pdf")
    assert there["day"] == "1970-01-01"
    status, out, _ = run(capsys, "documents", "--uri", library.uri)
    assert "2 of 3 documents have passages" in out
    assert "It is encrypted." in out
    assert "Give it." in out
    status, out, _ = run(capsys, "documents", "--uri", library.uri, "--problems", "--json")
    assert [row["path"] for row in json.loads(out)] == ["locked.pdf"]


def test_a_document_shows_its_chunks_and_what_was_embedded(
    capsys: pytest.CaptureFixture[str], library: StoreSpec
) -> None:
    for name in ("there.pdf", "sub/there.pdf"):
        status, out, _ = run(capsys, "documents", name, "--uri", library.uri)
        assert status == 0
        assert "There: The lantern is lit." in out
        assert "printed iv (5 tokens)" in out
        assert "'passage: '" in out
    status, out, _ = run(capsys, "documents", "there.pdf", "--uri", library.uri, "--json")
    (chunk,) = json.loads(out)["chunks"]
    assert (chunk["text"], chunk["embedded"]) == ("The lantern is lit.", "There: The lantern is lit.")
    status, _, error = run(capsys, "documents", "thre.pdf", "--uri", library.uri)
    assert status == 2
    assert "'there.pdf'" in error
    status, _, _ = run(capsys, "documents", "locked.pdf", "--uri", library.uri)
    assert status == 1


def test_a_document_or_any_file_is_printed_as_markdown(
    capsys: pytest.CaptureFixture[str], library: StoreSpec, tmp_path: Path
) -> None:
    status, out, _ = run(capsys, "documents", "there.pdf", "--uri", library.uri, "--markdown")
    assert status == 0
    assert out.startswith("<!-- page 1 -->\n\nThe lantern is lit.")
    other, to = write_pdf(tmp_path / "other.pdf", ["Elsewhere."]), tmp_path / "other.md"
    nowhere = str(tmp_path / "no-table")
    status, out, _ = run(capsys, "documents", str(other), "--uri", nowhere, "--markdown", "-o", str(to))
    assert (status, out) == (0, "")
    assert to.read_text() == "<!-- page 1 -->\n\nElsewhere.\n"
    assert not Path(nowhere).exists()
    for arguments, told in (
        (("--markdown",), "needs the name"),
        (("x.pdf", "--markdown", "--json"), "no JSON"),
        (("-o", "x.md"), "for --markdown"),
        (("there.pdf", "--markdown", "-o", "/nowhere/x.md"), "cannot be written"),
    ):
        status, _, error = run(capsys, "documents", *arguments, "--uri", library.uri)
        assert status == 2
        assert told in error
