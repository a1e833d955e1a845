"""A hybrid search gives places to passages of different pages, not to the neighbours of its best passage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from prefect_ollama.blocks.documents import EmbeddedDocument, Hit
from prefect_ollama.blocks.documents.chunk import Chunk
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.lance._search import CLOSE_CHUNKS, CLOSE_LOSS, spread
from tests.store_samples import DIMENSION, IDENTITY, document


def hit(score: float, page: int = 1, position: int = 0, doc_id: str = "a") -> Hit:
    return Hit("", "a.pdf", "s", page, page, "", score, doc_id, f"{doc_id}{position}", position)


def order(*hits: Hit) -> list[str]:
    return [each.chunk_id for _, each in spread((each.chunk_id, each) for each in hits)]


def test_a_passage_close_to_a_better_one_loses_score_for_each() -> None:
    left = dict(spread([("1", hit(3.0)), ("2", hit(2.9, position=1)), ("3", hit(2.8, position=2))]))
    scores = [left[key].score for key in ("1", "2", "3")]
    assert scores == pytest.approx([3.0, 2.9 - CLOSE_LOSS, 2.8 - 2 * CLOSE_LOSS])


def test_other_pages_come_before_the_neighbours_of_the_best_passage() -> None:
    page = [hit(3.0 - position / 10, 1, position) for position in range(4)]
    assert order(*page, hit(2.0, 2, 4), hit(1.9, 1, 0, "b"))[:3] == ["a0", "a4", "b0"]


def test_a_passage_far_better_than_other_pages_stays_before_them() -> None:
    assert order(hit(6.0), hit(5.0, position=1), hit(1.0, page=2, position=9)) == ["a0", "a1", "a9"]


def test_passages_far_apart_on_one_long_page_lose_nothing() -> None:
    far = hit(2.9, position=CLOSE_CHUNKS + 1)
    assert order(hit(3.0), far, hit(2.8, page=2, position=90)) == ["a0", far.chunk_id, "a90"]
    assert spread([("x", hit(3.0)), ("y", far)])[1][1].score == far.score


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three documents of ten pages, four passages each; vectors turn from the question's, page by page."""
    opened = Store.open(StoreSpec(str(tmp_path)), identity=IDENTITY, create=True)
    opened.begin_run("r", "papers")
    for number in range(3):
        chunks = [Chunk(f"d{number} thing {i}", i, i // 4 + 1, i // 4 + 1) for i in range(40)]
        angles = np.array([0.1 * (i // 4) + 0.01 * (i % 4) + 0.003 * number for i in range(40)])
        vectors = np.zeros((40, DIMENSION), np.float32)
        vectors[:, 0], vectors[:, 1] = np.cos(angles), np.sin(angles)
        opened.write([EmbeddedDocument(document(f"{number}.pdf"), chunks, vectors)])
    opened.end_run()
    return opened


QUESTION = np.eye(1, DIMENSION, dtype=np.float32)[0]


def pages(hits: list[Hit]) -> list[tuple[str, int]]:
    return [(each.path, each.page_from) for each in hits]


def test_a_hybrid_search_answers_from_more_pages_than_one_by_vector(store: Store) -> None:
    near = store.search(QUESTION, mode="vector", limit=8)
    assert set(pages(near)) == {(f"{number}.pdf", 1) for number in range(3)}
    both = store.search(QUESTION, text="thing", mode="hybrid", limit=8)
    assert len(set(pages(both))) == 8
    assert both[0].chunk_id == near[0].chunk_id
    assert [each.score for each in both] == sorted((each.score for each in both), reverse=True)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("limit", [1, 3, 8, 30, 200])
def test_reading_no_more_rows_than_needed_changes_no_order(store: Store, limit: int) -> None:
    """The first hits are the same, however many are asked for, and all passages are found in the end."""
    everything = store.search(QUESTION, text="thing", mode="hybrid", limit=1_000)
    assert len({each.chunk_id for each in everything}) == len(everything) == 120
    some = store.search(QUESTION, text="thing", mode="hybrid", limit=limit)
    assert [each.chunk_id for each in some] == [each.chunk_id for each in everything[:limit]]


def test_the_best_of_each_document_loses_nothing(store: Store) -> None:
    one = store.search(QUESTION, text="thing", mode="hybrid", limit=3, one_per_document=True)
    assert [each.path for each in one] == ["0.pdf", "1.pdf", "2.pdf"]
    assert {each.page_from for each in one} == {1}
    alone = store.search(QUESTION, text="thing", mode="hybrid", limit=1)
    assert replace(one[0], also_in=()) == replace(alone[0], also_in=())
