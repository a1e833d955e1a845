"""No word that is sent is so long that a node needs minutes for it, and all else is sent as it is."""

from __future__ import annotations

import re
import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ollama.tasks.dispatch import Dispatcher, divide_long_words
from prefect_ollama.tasks.dispatch.long_words import MAX_CLUSTER_BYTES, MAX_WORD_BYTES
from tests.dispatch.samples import DIMENSION, proven, some
from tests.nodes import Node, expected_vector, text_hash

CHINESE = re.compile(
    "([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f])"
)
GO_SPACE = re.compile("[\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")

WORDS = {
    "letters": "a" * 10_000,
    "letters of two bytes": "ж" * 10_000,
    "Thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ" * 100,
    "Khmer": "មនុស្សទាំងអស់កើតមកមានសេរីភាព" * 100,
    "Korean without spaces": "모든인간은태어날때부터자유로우며" * 100,
    "kana": "すべてのにんげんは" * 300,
    "Base64": (string.ascii_letters + string.digits) * 100,
    "hexadecimal": "0123456789abcdef" * 500,
    "box drawing": "─" * 5_000,
    "equals signs": "=" * 10_000,
    "emoji": "👩🏽‍🔬" * 1_000,
    "marks alone": "\u0301" * 5_000,
    "soft hyphens": "\u00ad".join("abcdefgh" for _ in range(1_000)),
    "zero-width spaces": "\u200b".join("abcdefgh" for _ in range(1_000)),
    "word joiners": "\u2060".join("abcdefgh" for _ in range(1_000)),
    "what Python alone takes for a space": "\x1f".join("abcdefgh" for _ in range(1_000)),
    "NUL": "\0" * 5_000,
    "after short ones": "some words before " + "b" * 3_000 + " and after",
}


def longest_word(text: str) -> int:
    """Bytes of the longest word as the tokenizer of Ollama 0.24 sees it."""
    words = GO_SPACE.split(CHINESE.sub(r" \1 ", text))
    parts = [
        "".join("\n" if unicodedata.category(each)[0] == "P" else each for each in word) for word in words
    ]
    return max(len(part.encode("utf-8", "surrogatepass")) for word in parts for part in word.split("\n"))


@pytest.mark.parametrize("kind", WORDS)
def test_no_word_stays_long(kind: str) -> None:
    text = WORDS[kind]
    assert longest_word(text) > MAX_WORD_BYTES
    divided = divide_long_words(text)
    assert longest_word(divided) <= MAX_WORD_BYTES + MAX_CLUSTER_BYTES
    assert divide_long_words(text) == divided
    assert divide_long_words(divided) == divided
    assert divided.replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a" * MAX_WORD_BYTES,
        "The harbour master logs every tide before sunrise. " * 200,
        "人人生而自由，在尊严和权利上一律平等。" * 200,
        "/a/path/with/many/parts" * 200,
        "one-word-after-another," * 200,
    ],
)
def test_what_has_no_long_word_is_sent_as_it_is(text: str) -> None:
    assert divide_long_words(text) is text


def test_no_letter_is_parted_from_its_marks() -> None:
    for length in range(8):
        divided = divide_long_words("a" * length + "ที่" * 500)
        assert not any(unicodedata.category(part[0])[0] == "M" for part in divided.split(" "))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.integers(1, 400))
def test_whatever_the_text(some_text: str, times: int) -> None:
    text = some_text * times
    divided = divide_long_words(text)
    assert divided.replace(" ", "") == text.replace(" ", "")
    assert longest_word(divided) <= MAX_WORD_BYTES + MAX_CLUSTER_BYTES
    if longest_word(text) <= MAX_WORD_BYTES:
        assert divided is text


@pytest.mark.parametrize("kind", ["document", "query"])
def test_callers_see_their_texts_and_nodes_the_divided_ones(trio: list[Node], kind: str) -> None:
    texts = [*some(20), "b" * 3_000, *some(20)]
    with Dispatcher(
        proven(trio, document_prefix="d: ", query_prefix="q: "), prepare=divide_long_words
    ) as dispatcher:
        embedded = dispatcher.embed(texts, kind=kind)  # type: ignore[arg-type]
    assert not embedded.failures
    served = {text for node in trio for text in node.stats()["served"]}
    for text, vector in zip(texts, embedded.vectors, strict=True):
        sent = divide_long_words(f"{kind[0]}: {text}")
        assert (sent == f"{kind[0]}: {text}") == (len(text) < 100)
        assert text_hash(sent) in served
        assert abs(vector - expected_vector(sent, DIMENSION)).max() < 1e-5
