"""The report as a page: what it says, that it stays short, and that names in it are only text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from prefect_ollama.blocks.printable import MAX_CELL_CHARACTERS, MAY_BREAK
from prefect_ollama.tasks.parsing import DroppedLine
from prefect_ollama.tasks.reporting.ingest_report import FileReport, IngestReport
from prefect_ollama.tasks.reporting.ingest_sections import ATTENTION, LINES, SOME
from prefect_ollama.tasks.reporting.markdown import report_markdown
from prefect_ollama.tasks.reporting.node_report import MAX_CAUSES, NodeReport

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


def items(markdown: str) -> list[str]:
    """The items of all lists as a reader sees them, each with those below it in lines of their own."""
    return ["".join(plain(token)) for token in parsed(markdown) if token.type == "inline" and token.level > 2]


def parsed(markdown: str) -> list[Token]:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown)


def plain(inline: Token) -> Iterator[str]:
    for token in inline.children or []:
        if token.content != "<!-- -->":
            assert token.type in ("text", "text_special", "strong_open", "strong_close"), token
        yield token.content.replace("<!-- -->", "").replace(MAY_BREAK, "")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_shows_as_it_is(name: str) -> None:
    shown = items(report_markdown(report(FileReport(name, "failed", reason=name, remedy=name))))
    spaced = " ".join(name.split())
    assert shown[-3:] == [f"{spaced} (failed)", spaced, spaced]


@given(st.text(max_size=50))
def test_whatever_a_name_is_it_stays_one_line_of_text(name: str) -> None:
    made = report_markdown(report(FileReport(name, "failed"), FileReport("next", "stored")))
    assert items(made)[-1].startswith("next: ")
    assert len([token for token in parsed(made) if token.type == "list_item_open"]) == len(items(made))
    assert not {token.type for token in parsed(made)} & {"html_block", "table_open", "code_block"}


def test_what_turns_the_direction_of_writing_is_shown() -> None:
    shown = items(report_markdown(report(FileReport("bill\u202efdp.exe", "failed"))))
    assert shown[-1] == "bill\\u202efdp.exe (failed)"


def test_a_name_that_is_no_unicode_can_be_sent_to_the_server() -> None:
    assert "\\\\udcff" in report_markdown(report(FileReport("\udcff.pdf", "failed"))).encode().decode()


def test_a_long_reason_is_cut() -> None:
    shown = items(report_markdown(report(FileReport("a.pdf", "failed", reason="x" * 5000))))
    assert len(shown[-1]) == MAX_CELL_CHARACTERS


@pytest.mark.slow
def test_of_ten_thousand_files_those_that_need_attention_stand_first_and_the_rest_is_counted() -> None:
    files = [FileReport(f"folder/stored-{n}.pdf", "stored", 3, 12, node_seconds=1.5) for n in range(9000)]
    files += [
        FileReport(f"folder/bad-{n}.pdf", "failed", reason="it is damaged " * 5, remedy="Save it again.")
        for n in range(1000)
    ]
    files.append(FileReport("half.pdf", "partial", reason="page 3", remedy="Turn OCR on."))
    made = report_markdown(report(*files, pages=27000))
    assert len(made) < 60_000
    assert "1,001 need attention" in made.splitlines()[0]
    shown = items(made)
    assert len([each for each in shown if each.endswith("(failed)")]) == ATTENTION
    first = shown.index("folder/bad-0.pdf (failed)")
    assert shown[first + 1 : first + 3] == [("it is damaged " * 5).strip(), "Save it again."]
    assert f"and {1001 - ATTENTION} more" in made
    assert len([each for each in shown if each.startswith("folder/stored-")]) == SOME
    assert "### Stored: 9000" in made
    assert f"and {9000 - SOME} more" in made
    assert made.index("### Need attention") < made.index("### Stored") < made.index("bad-0") + len(made)


def test_the_totals_say_where_vectors_came_from_and_what_was_left_out() -> None:
    made = report_markdown(
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
    assert items(made)[:6] == [
        "files: 1 (1 stored)",
        "pages: 4",
        "chunks: 10",
        "vectors: 3 embedded by nodes, 4 from the cache, 2 from the table, 1 repeated",
        "time: 2.0 s, 5.0 chunks/s, 1.2 node-seconds",
        "pages read by OCR: 1, in 7.2 s of the parsers",
    ]
    assert "characters dropped: running heads 100, hyphens at line ends 20" in items(made)


def test_the_nodes_and_a_picture_have_their_place() -> None:
    node = NodeReport("gpu|box", 9, 0.9, 3.0, 3.0, {"time-out": 2}, "<no answer>")
    made = report_markdown(
        report(FileReport("a.pdf", "stored"), nodes=(node,)), picture="![busy](data:image/svg+xml,x)"
    )
    assert items(made)[-3:] == [
        "gpu|box: 9 chunks (90%), busy for 3.0 s, 2 errors",
        "2 × time-out",
        "<no answer>",
    ]
    assert made.index("chunks/s") < made.index("![busy]") < made.index("### Nodes")


def test_every_cause_of_a_nodes_failures_stands_there_with_its_count() -> None:
    errors = {"Node 'a': is busy (503).": 3, "Node 'a': failed (500).": 1, "was silent.": 2}
    node = NodeReport("a", 9, 0.9, 3.0, 3.0, errors, "Node 'a': failed (500). Read its log.")
    assert node.error_lines() == [
        "3 × is busy (503).",
        "2 × was silent.",
        "1 × failed (500). Read its log.",
    ]
    assert items(report_markdown(report(nodes=(node,))))[-3:] == node.error_lines()
    many = NodeReport("a", 0, 0.0, 0.0, 0.0, {f"cause {number}": 1 for number in range(MAX_CAUSES + 5)})
    assert len(many.error_lines()) == MAX_CAUSES + 1
    assert many.error_lines()[-1] == "5 × 5 other causes"
    left_out = NodeReport("a", 0, 0.0, 0.0, 0.0, {}, "It lacks the model.")
    assert left_out.error_lines() == ["It lacks the model."]


def test_what_was_left_out_of_files_that_are_stored_is_listed_and_bounded() -> None:
    lines = tuple(DroppedLine("header", f"Head {number} | of *all*", 500 - number) for number in range(80))
    note = "2 attached files were not read: a.pdf, b.xlsx. Save them."
    files = [FileReport("a.pdf", "stored", notes=(note,), dropped_lines=(*lines, DroppedLine("", "", 9)))]
    made = report_markdown(report(*files, FileReport("b.pdf", "stored")))
    assert f"a.pdf: {note}" in items(made)
    listed = [item for item in items(made) if "Head" in item]
    assert len(listed) == LINES
    assert listed[0] == "a.pdf: “Head 0 | of *all*” (running heads), 500 times"
    assert f"and {80 - LINES} more" in made
    assert "Running heads" in made
    assert report(*files).ok
    numbers = (DroppedLine("page-number", "3", 51), DroppedLine("page-number", "9", 1))
    numbered = items(report_markdown(report(FileReport("a.pdf", "stored", dropped_lines=numbers))))
    assert "a.pdf: “3” and others (page numbers), 51 times" in numbered
    assert "a.pdf: “9” (page numbers), 1 time" in numbered
    nothing = report_markdown(report(FileReport("b.pdf", "stored")))
    assert "Not read" not in nothing
    assert "Lines left out" not in nothing


def test_a_run_that_changed_the_table_says_how_to_undo_it() -> None:
    changed = report_markdown(report(FileReport("a.pdf", "stored"), version=7))
    assert "at version 7" in changed
    assert "```sh\nprefect-ollama roll-back 0198 --uri /data/lancedb\n```" in changed
    assert "```python\nroll_back('0198', '/data/lancedb')\n```" in changed
    assert "--block" not in changed
    other = report_markdown(report(FileReport("a.pdf", "stored"), version=7, table="s3://b/x/papers"))
    assert "roll_back('0198', LanceTable(uri='s3://b/x', table='papers'))" in other
    assert "prefect-ollama roll-back 0198 --uri s3://b/x --table papers" in other
    assert "--block" in other
    odd = report_markdown(report(FileReport("a.pdf", "stored"), version=7, table="/my `data`\n```/x"))
    assert "````sh\nprefect-ollama roll-back 0198 --uri '/my `data`\n```' --table x\n````" in odd
    assert "roll_back" not in report_markdown(report(FileReport("a.pdf", "unchanged")))


def test_what_a_dry_run_would_do_and_what_a_stopped_one_left() -> None:
    files = (FileReport("a.pdf", "new"), FileReport("b.pdf", "changed"), FileReport("c.pdf", "unchanged"))
    assert "## 1 unchanged, 2 would be read" in report_markdown(report(*files, dry_run=True))
    assert "## 1 unchanged, 2 left to do" in report_markdown(report(*files))
    assert "## 1 unchanged" in report_markdown(report(files[2]))


def test_the_prompts_of_the_model_are_shown() -> None:
    told = report(document_prefix="search_document: ", query_prefix="search_query: ")
    assert told.prompts == "'search_document: ' before passages, 'search_query: ' before questions"
    assert "search\\_query" in report_markdown(told) or "search_query" in report_markdown(told)
    assert report(query_prefix="query: ").prompts == "'query: ' before questions"
    assert report().prompts == ""
    assert told.to_dict()["query_prefix"] == "search_query: "
