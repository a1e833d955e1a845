"""Text from outside, as terminals, logs, Markdown, HTML and JSON show it."""

from __future__ import annotations

import io
import json
import logging
import pickle
import sys
import unicodedata
from html.parser import HTMLParser

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from prefect import flow

from prefect_ollama.__main__ import _print_anything
from prefect_ollama.blocks.errors import ClusterError, ConfigurationError, NodeFailed
from prefect_ollama.blocks.printable import (
    MAX_CHARACTERS,
    MAY_BREAK,
    escape_html,
    escape_json,
    escape_markdown,
    printable,
)
from prefect_ollama.tasks.prefect_state.logging import run_logger

HOSTILE = {
    "clear the screen": "\x1b[2J\x1b[H",
    "title of the window": "\x1b]0;owned\x07",
    "link of the terminal": "\x1b]8;;http://evil.test\x1b\\\\here\x1b]8;;\x1b\\\\",
    "clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "C1 introducer": "\x9b31m\x9d0;owned\x9c",
    "back and over": "harmless\b\b\b\b\b\b\b\bevil",
    "another line": "a.pdf\r\n12:00:00 | INFO | all is well\x85\u2028\u2029",
    "right to left": "bill\u202efdp.exe\u2066\u2067\u061c\u200f",
    "no width": "a\u200bb\u2060c\ufeffd\U000e0041",
    "no Unicode": "\udcff\ud800",
    "null": "\0",
}


def seen(text: str) -> bool:
    """Whether all of a text can be seen; the joiners are letters of some languages."""
    return all(
        each in "\u200c\u200d\xad" or unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
        for each in text
    )


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_cannot_be_seen_is_named(text: str) -> None:
    shown = printable(text)
    assert seen(shown)
    assert shown.encode()
    assert printable(shown) == shown
    assert seen(printable(text, lines=True).replace("\n", ""))


def test_what_can_be_seen_stays() -> None:
    for text in (
        "naïve – 学校 – עברית – فارسی\u200cها – 👩\u200d🔬 – a\\b – \ufffd",
        "",
        "x" * MAX_CHARACTERS,
    ):
        assert printable(text) == text
    assert printable("a\tb\nc", lines=True) == "a\tb\nc"
    assert printable("a\tb\nc") == r"a\tb\nc"
    assert printable("x" * 10, longest=4) == "xxx…"


@given(st.text())
def test_nothing_is_lost_and_nothing_hidden(text: str) -> None:
    shown = printable(text, longest=10**6)
    # Some signs of formatting, such as the Arabic number sign, are seen.
    assert not [each for each in shown if unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp")]
    assert len(shown) >= len(text)


@given(st.text(alphabet=st.sampled_from("![](<>)`|*_~#-+=.:/@\\\n\r 1awhtps&;$\u202e")))
def test_no_text_is_markdown(text: str) -> None:
    made = escape_markdown(text)
    assert "\n" not in made
    for around in ("{}", "- {}", "a | {}"):
        tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(around.format(made))
        inline = [child for token in tokens for child in token.children or []]
        assert {child.content for child in inline if child.type == "html_inline"} <= {"<!-- -->"}
        assert {child.type for child in inline} <= {"text", "text_special", "html_inline"}
        assert sum(token.type == "list_item_open" for token in tokens) == around.startswith("-")
        assert not {"heading_open", "hr", "code_block", "fence"} & {token.type for token in tokens}


def test_a_line_may_end_within_a_very_long_word() -> None:
    assert escape_markdown("x" * 120).split(MAY_BREAK) == ["x" * 50, "x" * 50, "x" * 20]
    for text in ("x" * 50, "x-" * 60, "data/" * 30, "a word " * 30):
        assert MAY_BREAK not in escape_markdown(text)


@given(st.text())
def test_no_text_is_html(text: str) -> None:
    class Tags(HTMLParser):
        found = 0

        def handle_starttag(self, *_: object) -> None:
            self.found += 1

    tags = Tags()
    tags.feed(f'<td title="{escape_html(text)}">{escape_html(text)}</td>')
    assert tags.found == 1


@given(st.dictionaries(st.text(), st.text()))
def test_json_means_the_same_and_hides_nothing(values: dict[str, str]) -> None:
    made = escape_json(orjson.dumps(values, option=orjson.OPT_INDENT_2).decode())
    assert json.loads(made) == values
    assert not [
        each for each in made if unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") and each != "\n"
    ]


def test_errors_are_printable_and_stay_so_on_their_way() -> None:
    error = NodeFailed("said \x1b[2J\nand more", node="gpu\x1b", remedy="Look\u202e.")
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert seen(str(each))
        assert (each.cause, each.remedy) == (
            r"Node 'gpu\x1b': said \x1b[2J\nand more",
            r"Look\u202e.",
        )
    assert "\n" not in str(ConfigurationError("no file 'a\nb'"))
    assert str(ClusterError("No node:\n  a\x07\n  b")) == "No node:\n  a\\x07\n  b"


@pytest.mark.usefixtures("prefect_server")
def test_lines_of_the_log_are_printable_and_name_their_place(caplog: pytest.LogCaptureFixture) -> None:
    @flow
    def logs() -> None:
        run_logger().warning("File %s of %r: %s, %d", "\x1b[2J\nDone", 1, OSError("\x9b"), 3)
        run_logger().warning("%s", ClusterError("two\nlines"))

    logs()
    first, second = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert first.getMessage() == r"File \x1b[2J\nDone of 1: \x9b, 3"
    assert second.getMessage() == "two\nlines"
    assert (first.filename, first.funcName) == ("test_printable.py", "logs")


def test_an_encoding_that_lacks_a_character_loses_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    _print_anything()
    print("Käse “quoted” 潮", flush=True)
    assert written.getvalue() == b"K\\xe4se \\u201cquoted\\u201d \\u6f6e\n"
