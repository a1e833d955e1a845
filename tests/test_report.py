"""The report as a page: what it says, that it stays short, and that names in it are only text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from prefect_ollama.tasks.page import ATTENTION, LONGEST, SOME, page
from prefect_ollama.tasks.report import FileReport, IngestReport, NodeReport

ODD_NAMES = (
    "a|b.pdf",
    "`rm -rf`.pdf",
    "``two``|three.pdf",
    "two\nlines\r\n| of | a | table |.pdf",
    "<img src=x onerror=alert(1)>.pdf",
    "<!-- gone.pdf",
    "&lt;b&gt; &amp; &copy;.pdf",
    "[link](javascript:alert(1)).pdf",
    "![](http://example.org/pixel.png).pdf",
    "**bold** _italic_ ~~gone~~ $math$.pdf",
    "back\\slash\\|.pdf",
    "# heading.pdf",
    "naïve – 学校 – עברית.pdf",
)


def report(*files: FileReport, **values: object) -> IngestReport:
    given: dict[str, object] = {
        "run_id": "0198",
        "source": "/papers",
        "table": "/data/lancedb/documents",
        "model": "nomic-embed-text",
        "dry_run": False,
    }
    return IngestReport(files=files, **{**given, **values})  # type: ignore[arg-type]


def tables(markdown: str) -> list[list[list[str]]]:
    """The cells of every table as a reader sees them."""
    found: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and found and token.level > 2:
            found[-1][-1].append("".join(plain(token)))
    return found


def plain(inline: Token) -> Iterator[str]:
    for token in inline.children or []:
        assert token.type in ("text", "text_special"), f"{token.type} in {inline.content!r}"
        yield token.content


def row_of(markdown: str, outcome: str) -> list[str]:
    return next(row for table in tables(markdown) for row in table if row[1:2] == [outcome] and len(row) == 4)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_shows_as_it_is(name: str) -> None:
    shown = row_of(page(report(FileReport(name, "failed", reason=name, remedy=name))), "failed")
    spaced = " ".join(name.split())
    assert shown == [spaced, "failed", spaced, spaced]


@given(st.text(max_size=50))
def test_whatever_a_name_is_it_stays_one_cell_of_text(name: str) -> None:
    shown = tables(page(report(FileReport(name, "failed"), FileReport("next", "stored"))))
    assert [len(row) for row in shown[2]] == [4, 4]
    assert shown[3][1][0] == "next"


def test_what_turns_the_direction_of_writing_is_left_out() -> None:
    shown = row_of(page(report(FileReport("bill\u202efdp.exe", "failed"))), "failed")
    assert shown[0] == "billfdp.exe"


def test_a_name_that_is_no_unicode_can_be_sent_to_the_server() -> None:
    assert "\\\\udcff" in page(report(FileReport("\udcff.pdf", "failed"))).encode().decode()


def test_a_long_reason_is_cut() -> None:
    shown = row_of(page(report(FileReport("a.pdf", "failed", reason="x" * 5000))), "failed")
    assert len(shown[2]) == LONGEST


def test_of_ten_thousand_files_those_that_need_attention_stand_first_and_the_rest_is_counted() -> None:
    files = [FileReport(f"folder/stored-{n}.pdf", "stored", 3, 12, node_seconds=1.5) for n in range(9000)]
    files += [
        FileReport(f"folder/bad-{n}.pdf", "failed", reason="it is damaged " * 5, remedy="Save it again.")
        for n in range(1000)
    ]
    files.append(FileReport("half.pdf", "partial", reason="page 3", remedy="Turn OCR on."))
    made = page(report(*files, pages=27000))
    assert len(made) < 60_000
    assert "Of 10001 files 1001 need attention" in made
    attention, stored = tables(made)[2:4]
    assert len(attention) == 1 + ATTENTION
    assert attention[1][1:] == ["failed", ("it is damaged " * 5).strip(), "Save it again."]
    assert f"and {1001 - ATTENTION} more" in made
    assert len(stored) == 1 + SOME
    assert "### Stored: 9000" in made
    assert f"and {9000 - SOME} more" in made
    assert made.index("### Need attention") < made.index("### Stored") < made.index("bad-0") + len(made)


def test_the_totals_say_where_vectors_came_from_and_what_was_left_out() -> None:
    made = page(
        report(
            FileReport("a.pdf", "stored", 4, 10),
            pages=4,
            ocr_pages=1,
            chunks=10,
            embedded=3,
            reused=7,
            from_cache=4,
            from_table=2,
            ocr_seconds=7.25,
            dropped={"header": 100, "hyphen": 20},
            seconds=2.0,
            node_seconds=1.25,
        )
    )
    counts, totals = tables(made)[:2]
    assert counts == [["files", "stored"], ["1", "1"]]
    assert dict(zip(*totals, strict=True)) == {
        "pages": "4",
        "by OCR": "1",
        "chunks": "10",
        "embedded": "3",
        "from cache": "4",
        "from table": "2",
        "repeated": "1",
    }
    assert "2.0 s, 5.0 chunks/s, 1.2 node-seconds." in made
    assert "Characters dropped: header 100, hyphen 20." in made
    assert "OCR took 7.2 s" in made


def test_the_nodes_and_a_picture_have_their_place() -> None:
    node = NodeReport("gpu|box", 9, 0.9, 3.0, 3.0, {"time-out": 2}, "<no answer>")
    made = page(report(FileReport("a.pdf", "stored"), nodes=(node,)), picture="![busy](data:image/svg+xml,x)")
    assert ["gpu|box", "9", "90%", "3.0", "3.0", "2", "<no answer>"] in tables(made)[-1]
    assert made.index("chunks/s") < made.index("![busy]") < made.index("### Nodes")


def test_a_run_that_changed_the_table_says_how_to_undo_it() -> None:
    changed = page(report(FileReport("a.pdf", "stored"), version=7))
    assert "at version 7" in changed
    assert "```sh\nprefect-ollama roll-back 0198 --uri /data/lancedb\n```" in changed
    assert "```python\nroll_back('0198', '/data/lancedb')\n```" in changed
    assert "--block" not in changed
    other = page(report(FileReport("a.pdf", "stored"), version=7, table="s3://b/x/papers"))
    assert "roll_back('0198', LanceTable(uri='s3://b/x', table='papers'))" in other
    assert "prefect-ollama roll-back 0198 --uri s3://b/x --table papers" in other
    assert "--block" in other
    odd = page(report(FileReport("a.pdf", "stored"), version=7, table="/my `data`\n```/x"))
    assert "````sh\nprefect-ollama roll-back 0198 --uri '/my `data`\n```' --table x\n````" in odd
    assert "roll_back" not in page(report(FileReport("a.pdf", "unchanged")))


def test_what_a_dry_run_would_do_and_what_a_stopped_one_left() -> None:
    files = (FileReport("a.pdf", "new"), FileReport("b.pdf", "changed"), FileReport("c.pdf", "unchanged"))
    assert "2 of 3 files would be read" in page(report(*files, dry_run=True))
    assert "Of 3 files 2 are left to do" in page(report(*files))
    assert "All of 1 file are as they should be" in page(report(files[2]))
