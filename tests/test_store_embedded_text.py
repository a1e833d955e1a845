"""A chunk may be embedded with more than it shows: the vector belongs to the embedded text, the hit shows the text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prefect_ollama.blocks.documents import EmbeddedDocument
from prefect_ollama.blocks.documents.chunk import Chunk
from prefect_ollama.blocks.lance import Store, StoreSpec, text_hash
from prefect_ollama.tasks.chunking import split_chunk
from tests.store_samples import IDENTITY, document, embedded, vector_of

SHOWN, CONTEXT = "Total revenue was 17,606.", "Annual report 2022 > Income"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(StoreSpec(str(tmp_path)), identity=IDENTITY, create=True)
    store.begin_run("first", "papers")
    chunk = Chunk(
        SHOWN, 0, 7, 8, page_label_from="v", page_label_to="F-1", embedded_text=f"{CONTEXT}\n{SHOWN}"
    )
    vectors = np.array([vector_of(chunk.to_embed)], np.float32)
    store.write(
        [
            EmbeddedDocument(document("a.pdf", title="Annual report"), [chunk], vectors),
            embedded("b.pdf", ["plain"]),
        ]
    )
    store.end_run()
    return store


def test_a_hit_shows_the_text_with_title_and_printed_pages(store: Store) -> None:
    hit = store.search(vector_of(f"{CONTEXT}\n{SHOWN}"), limit=1)[0]
    assert (hit.text, hit.title) == (SHOWN, "Annual report")
    assert (hit.page_from, hit.page_to, hit.page_label_from, hit.page_label_to) == (7, 8, "v", "F-1")
    plain = store.search(text="plain", mode="text")[0]
    assert (plain.title, plain.page_label_from) == ("On b.pdf", "")


def test_vectors_are_known_by_the_text_that_was_embedded(store: Store) -> None:
    known = store.vectors_for(row.doc_id for row in store.manifest())
    assert set(known) == {text_hash(f"{CONTEXT}\n{SHOWN}"), text_hash("plain")}
    assert {text for batch in store.texts() for text in batch} == {f"{CONTEXT}\n{SHOWN}", "plain"}
    for text, vector in store.sample(5):
        np.testing.assert_array_equal(vector, vector_of(text))


def test_a_moved_document_takes_its_title_along(store: Store) -> None:
    store.begin_run("second", "papers")
    old = next(row for row in store.manifest() if row.path == "a.pdf")
    store.move({old.doc_id: replace(document("c.pdf"), title="Annual report, filed")})
    store.end_run()
    assert store.search(text="revenue", mode="text")[0].title == "Annual report, filed"


def test_both_parts_of_a_split_chunk_are_embedded_with_what_stood_before() -> None:
    text = "One sentence of some length. Another sentence of such a length."
    parts = split_chunk(Chunk(text, 0, 1, 1, tokens=12, embedded_text=f"{CONTEXT}\n{text}"))
    assert " ".join(part.text for part in parts) == text
    assert [part.embedded_text for part in parts] == [f"{CONTEXT}\n{part.text}" for part in parts]
    assert [part.embedded_text for part in split_chunk(Chunk(text, 0, 1, 1, tokens=12))] == ["", ""]
