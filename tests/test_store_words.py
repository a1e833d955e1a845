"""Searching by words: what a person copies from a text, or types in another spelling, is found."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ollama.blocks.lance import Store, StoreSpec, maintain
from prefect_ollama.blocks.lance._indices import INDEX_OF_WORDS, ensure_indices
from prefect_ollama.blocks.lance._words import asked_words, folded, indexed_words
from prefect_ollama.blocks.lance.maintenance import due
from tests.store_samples import IDENTITY, chunk_rows, embedded, sentences

HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
COMPOUND = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"

SPELLINGS = [
    (f"The digest is {HASH}.", HASH, HASH.upper()),
    (f"Bei der {COMPOUND} angestellt", COMPOUND, COMPOUND.upper()),
    ("key: " + "AbC-" * 30 + "end", "AbC-" * 30 + "end"),
    ("x" * 5000, "X" * 5000),
    ("Die Straße am Fluß", "STRASSE", "strasse", "Straße", "STRAẞE", "Fluss", "fluß"),
    ("in der HAUPTSTRASSE", "Hauptstraße", "hauptstrasse"),
    ("the ﬁrst oﬃce", "first", "FIRST", "office"),
    ("The office is first", "oﬃce", "ﬁrst"),
    (unicodedata.normalize("NFD", "Café Zoë, mañana"), "café", "cafe", "ZOE", "mañana", "Manana"),
    (
        unicodedata.normalize("NFC", "Café Zoë, mañana"),
        unicodedata.normalize("NFD", "café"),
        unicodedata.normalize("NFD", "ZOË"),
    ),
    ("order １２３４５ by ＡＣＭＥ", "12345", "acme", "１２３４５"),
    (
        "İstanbul, ISPARTA ve Diyarbakır",
        "istanbul",
        "ISTANBUL",
        "İSTANBUL",
        "ısparta",
        "isparta",
        "DIYARBAKIR",
    ),
    ("ΟΔΥΣΣΕΥΣ και Πηνελόπη", "οδυσσευς", "Ὀδυσσεύς", "οδυσσευσ", "πηνελοπη"),
    ("Ёлка и Москва", "елка", "ЁЛКА", "москва"),
    ("Ærø, Łódź, Đorđe, Œuvre", "aero", "lodz", "LODZ", "Dorde", "oeuvre"),
    (
        "call foo_bar.baz_qux(), then a/b/c.txt",
        "foo_bar",
        "baz_qux",
        "foo_bar.baz_qux",
        "a/b/c.txt",
        "c.txt",
        "foo",
    ),
    (
        "see https://example.org/a/page?id=17#top",
        "https://example.org/a/page?id=17#top",
        "example.org",
        "page",
    ),
    ("version v1.2.3-rc4 of 10.0.0.1", "v1.2.3-rc4", "1.2.3", "10.0.0.1", "rc4"),
    ("well-known e-mail, e\u2011mail and coöperate", "well-known", "known", "email", "e-mail", "e\u2013mail"),
    ("O’Brien doesn't, l’eau", "O'Brien", "obrien", "O’BRIEN", "Brien", "doesn’t", "eau", "l'eau"),
    ("soft\u00adhyphen and zero\u200bwidth", "softhyphen", "soft\u00adhyphen", "zerowidth"),
    ("written in C++ and C#", "C++", "c#"),
    ("CO₂ and heron² cost 5 €", "CO2", "co₂", "heron", "€"),
    ("東京都庁で機械学習を学ぶ", "東京", "都庁", "機械", "学習を学ぶ", "京"),
    ("ภาษาไทยง่ายมาก", "ภาษา", "ง่าย"),
    ("서울에서 만나요", "서울", "만나"),
    ("هٰذَا كِتَابٌ جَدِيدٌ", "كتاب", "جديد"),
    ("שָׁלוֹם עולם", "שלום"),
    ("हिन्दी में लिखा", "हिन्दी"),
    ("anna@example.com wrote", "anna@example.com", "anna", "example"),
    ("The running hares ran", "run", "hare"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    opened = Store.open(StoreSpec(str(tmp_path_factory.mktemp("db"))), identity=IDENTITY, create=True)
    opened.begin_run("r1", "papers")
    texts = [text for text, *_ in SPELLINGS]
    opened.write([embedded("a.pdf", [*texts[::2], *sentences("filler", 40)])])
    opened._chunks.table.optimize()
    opened.write([embedded("b.pdf", texts[1::2])])  # rows that the index does not have yet
    return opened


@pytest.mark.sampled(12)
@pytest.mark.parametrize(("text", "question"), [(text, each) for text, *some in SPELLINGS for each in some])
def test_a_word_is_found_in_any_spelling(store: Store, text: str, question: str) -> None:
    found = [hit.text for hit in store.search(text=question, mode="text")]
    assert text in found


def test_half_of_it_is_indexed(store: Store) -> None:
    (index,) = [each for each in store._chunks.table.list_indices() if each.columns == ["words"]]
    assert index.num_unindexed_rows == len(SPELLINGS) // 2
    assert index.num_indexed_rows > len(SPELLINGS) // 2


def test_what_is_not_there_is_not_found(store: Store) -> None:
    for question in (HASH[:-1], "xylophone", "東西", "???", "\u200b"):
        assert store.search(text=question, mode="text") == []


@given(st.text(min_size=1))
def test_every_word_of_a_text_is_among_its_words(text: str) -> None:
    """Of any text, also of nonsense, the question finds the passage: by the whole text and by each of its terms."""
    indexed = set(indexed_words(text).split())
    for asked in (text, *text.split(), text.upper(), unicodedata.normalize("NFD", text)):
        words = asked_words(asked).split()
        assert indexed.issuperset(words) or set(words) & indexed


@given(st.text())
def test_folding_comes_to_an_end(text: str) -> None:
    once = folded(text)
    assert folded(once) == once
    for form in ("NFC", "NFD"):
        assert folded(unicodedata.normalize(form, text)) == once


@pytest.mark.slow
def test_an_index_with_other_options_is_made_again(tmp_path: Path) -> None:
    from lancedb.index import FTS

    opened = Store.open(StoreSpec(str(tmp_path)), identity=IDENTITY, create=True)
    opened.begin_run("r1", "papers")
    opened.write([embedded("a.pdf", [f"digest {HASH}"])])
    opened.end_run()
    table = opened._chunks.table
    table.create_index("words", config=FTS(base_tokenizer="simple"), replace=True)
    table.optimize()
    assert opened.search(text=HASH, mode="text") == []
    assert any("other options" in reason for reason in due(opened.spec))
    maintain(opened.spec)
    assert due(opened.spec) == []
    assert ensure_indices(table) == []
    (index,) = [each for each in table.list_indices() if each.columns == ["words"]]
    assert INDEX_OF_WORDS.items() <= index.index_details.items()
    assert len(opened.search(text=HASH, mode="text")) == 1


def test_words_that_only_the_embedded_text_has_are_found(tmp_path: Path) -> None:
    """A passage of a report names neither the company nor the year; its context does."""
    store = Store.open(StoreSpec(str(tmp_path)), identity=IDENTITY, create=True)
    store.begin_run("run", "papers")
    document = embedded("a.pdf", ["Net revenue | 17,606", "Revenue of Adobe", "Cost of revenue"])
    contexts = ["Adobe 2022\n\nNet revenue: 17,606", "Adobe 2022\n\nRevenue of Adobe", ""]
    chunks = [
        replace(chunk, embedded_text=text) for chunk, text in zip(document.chunks, contexts, strict=True)
    ]
    store.write([replace(document, chunks=chunks)])
    store.end_run()

    def found(words: str) -> set[int]:
        return {hit.position for hit in store.search(text=words, mode="text")}

    assert found("adobe") == {0, 1}
    assert found("2022") == {0, 1}
    assert found("17,606") == {0}
    words = [row["words"] for row in chunk_rows(store)]
    assert sorted(words) == [
        "cost of revenue",
        "net revenue 17,606 17 606 adobe 2022",
        "revenue of adobe 2022",
    ]
