"""Characters that show nothing do not reach the text, except those that a script or an emoji needs."""

from __future__ import annotations

from collections import Counter

import pytest

from prefect_ollama.tasks.parsing._invisible import visible
from prefect_ollama.tasks.parsing.pdf._metadata import read_metadata
from prefect_ollama.tasks.parsing.pdf._text_cleanup import TextCleanup, is_plain

HIDDEN = (
    *("\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069"),
    *(
        "\u200e",
        "\u200f",
        "\u061c",
        "\u200b",
        "\u200c",
        "\u200d",
        "\u2060",
        "\u2063",
        "\u206a",
        "\ufeff",
        "\xad",
    ),
    *("\x00", "\x07", "\x1b", "\x7f", "\x9b", "\ufffe", "\ufdd0", "\ufff9", "\u180e", "\u3164", "\u115f"),
    *("\ufe0f", "\U000e0041", "\U000e007f", "\U000e0100", "\U0001d173", "\ud800"),
)


@pytest.mark.parametrize("character", HIDDEN, ids=lambda character: f"U+{ord(character):04X}")
def test_what_shows_nothing_is_dropped_and_counted_in_text_tables_and_titles(character: str) -> None:
    dropped: Counter[str] = Counter()
    text = f"pay{character}load"
    assert not is_plain(text.encode("utf-8", "surrogatepass"))
    assert TextCleanup(dropped).running(text) == "payload"
    assert TextCleanup(dropped).lines(f"one\n{text}\ntwo")[0] == "one payload two"
    assert dropped == {"invisible": 2}
    assert read_metadata({"title": text}).title == "payload"


@pytest.mark.parametrize(
    "text",
    [
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian
        "\u0915\u094d\u200d\u0937 \u0915\u094d\u200c\u0937",  # Devanagari
        "\u0d28\u0d4d\u200d",  # Malayalam
        "\u1781\u17d2\u1798\u17c2\u179a\u200b\u1797\u17b6\u179f\u17b6",  # Khmer
        "\U0001f469\u200d\U0001f680 \U0001f3f3\ufe0f\u200d\U0001f308 \u2764\ufe0f 1\ufe0f\u20e3",
        "\u845b\U000e0100",
        "\u1820\u180b",
    ],
)
def test_what_a_script_or_an_emoji_needs_stays(text: str) -> None:
    dropped: Counter[str] = Counter()
    assert visible(text, dropped) == text
    assert TextCleanup(dropped).running(text) == text
    assert dropped == {}


def test_joiners_and_variants_in_rows_hide_no_message() -> None:
    hidden = "".join(chr(0xFE00 + i % 16) for i in range(40))
    assert visible(f"\U0001f600{hidden}!") == f"\U0001f600{hidden[0]}!"
    assert visible("\u0645" + "\u200c\u200d" * 20 + "\u06cc") == "\u0645\u06cc"


def test_line_breaks_of_unicode_are_spaces() -> None:
    assert (
        TextCleanup(Counter()).running("one\u2028two\u2029three\x0bfour\x0cfive\x85six")
        == "one two three four five six"
    )
