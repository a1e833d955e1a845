"""A text is one hit, wherever else it stands, and there are as many hits as were asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_ollama.blocks.documents import Place
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.lance import _candidates as candidates
from prefect_ollama.blocks.lance.filters import equals
from tests.store_samples import IDENTITY, embedded, vector_of

BOILERPLATE = "All rights reserved, see the licence"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Twenty texts that stand in two sources, and one that stands on every page of a long document."""
    opened = Store.open(StoreSpec(str(tmp_path)), identity=IDENTITY, create=True)
    texts = [f"The licence of part {number}" for number in range(20)]
    for run, source in enumerate(("a", "b")):
        opened.begin_run(f"r{run}", source)
        opened.write([embedded("one.pdf", texts, source=source)])
        if source == "b":
            opened.write([embedded("long.pdf", [BOILERPLATE] * 150, source=source)])
        opened.end_run()
    return opened


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
@pytest.mark.sampled(2)
def test_one_text_is_one_hit(store: Store, mode: str) -> None:
    """The boilerplate is the best answer 150 times over; below it there are still nine others."""
    hits = store.search(vector_of(BOILERPLATE), text=BOILERPLATE, mode=mode, limit=10)  # type: ignore[arg-type]
    assert len({hit.text for hit in hits}) == len(hits) == 10
    best, second = hits[0], hits[1]
    assert (best.text, best.path, best.page_from, best.copies) == (BOILERPLATE, "long.pdf", 1, 149)
    assert best.also_in[0] == Place("b", "long.pdf", 2, 2)
    assert len(best.also_in) == 100
    assert (second.source, second.copies) == ("a", 1)
    assert second.also_in == (Place("b", "one.pdf", second.page_from, second.page_to),)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    again = store.search(vector_of(BOILERPLATE), text=BOILERPLATE, mode=mode, limit=10)  # type: ignore[arg-type]
    assert [hit.chunk_id for hit in again[:1]] == [best.chunk_id]


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
@pytest.mark.sampled(1)
def test_all_texts_are_found_where_more_are_asked_for(store: Store, mode: str) -> None:
    hits = store.search(vector_of("x"), text="licence", mode=mode, limit=99)  # type: ignore[arg-type]
    assert len({hit.text for hit in hits}) == len(hits) == 21


def test_a_filter_holds_for_the_other_places_too(store: Store) -> None:
    for condition in ({"source": "a"}, {"where": equals("source", "a")}):
        hits = store.search(vector_of("x"), limit=30, **condition)  # type: ignore[arg-type]
        assert len(hits) == 20
        assert {(hit.source, hit.copies, hit.also_in) for hit in hits} == {("a", 0, ())}


def test_as_many_are_found_through_an_index(store: Store) -> None:
    """Cells that hold nothing but copies are no reason to find less."""
    from lancedb.index import IvfSq

    config = IvfSq(distance_type="cosine", num_partitions=4)
    store._chunks.table.create_index("vector", config=config, name="vector_190", replace=True)
    hits = store.search(vector_of(BOILERPLATE), limit=15)
    assert len({hit.text for hit in hits}) == 15


@pytest.mark.parametrize("where", ["", "page_from < 1000"])
def test_as_many_are_found_where_the_nearest_cells_hold_too_few(
    store: Store, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    from lancedb.index import IvfSq

    for name in ("MIN_PROBES", "MAX_PROBES"):
        monkeypatch.setattr(candidates, name, 1)
    monkeypatch.setattr(candidates, "EXACT_ROWS", 0)
    config = IvfSq(distance_type="cosine", num_partitions=8)
    store._chunks.table.create_index("vector", config=config, name="vector_190", replace=True)
    for mode in ("vector", "hybrid"):
        hits = store.search(vector_of("x"), text="licence", limit=21, where=where, mode=mode)  # type: ignore[arg-type]
        assert len({hit.text for hit in hits}) == 21
