"""Rows outside the indices are searched in memory, and found as LanceDB finds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prefect_ollama.blocks.documents import Hit
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.lance import _fresh_rows as fresh_rows
from prefect_ollama.blocks.lance.filters import equals
from tests.cases import most_slow
from tests.store_samples import IDENTITY, embedded, vector_of

WORDS = [
    "harbour",
    "tides",
    "moon",
    "running",
    "runs",
    "wall",
    "Straße",
    "lantern",
    "salt",
    "the",
    "of",
    "and",
]
QUESTION = "the moon runs of strasse"


def texts(name: str, count: int) -> list[str]:
    """Return passages of unlike length; rare words are far down in `WORDS` reversed."""
    dice = np.random.default_rng(sum(name.encode()))
    chances = np.arange(1, len(WORDS) + 1, dtype=float) ** 2
    return [
        " ".join([name, str(number), *dice.choice(WORDS, dice.integers(3, 30), p=chances / chances.sum())])
        for number in range(count)
    ]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A table with 300 indexed rows and, in three commits of an open run, 120 others."""
    opened = Store.open(StoreSpec(str(tmp_path)), identity=IDENTITY, create=True)
    opened.begin_run("r0", "papers")
    opened.write([embedded(f"old{number}.pdf", texts(f"old{number}", 50)) for number in range(6)])
    opened.end_run()
    opened._chunks.table.optimize()
    opened.begin_run("r1", "papers")
    for number in range(3):
        opened.write([embedded(f"new{number}.pdf", texts(f"new{number}", 40))])
    return opened


@pytest.fixture(autouse=True)
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold fresh rows in memory however few they are."""
    monkeypatch.setattr(fresh_rows, "LANCE_ROWS", 0)


def asked(store: Store, mode: str, **options: object) -> list[Hit]:
    return store.search(vector_of("moon"), text=QUESTION, mode=mode, **{"limit": 60, **options})  # type: ignore[arg-type]


def by_lance(store: Store, monkeypatch: pytest.MonkeyPatch, mode: str, **options: object) -> list[Hit]:
    """Let LanceDB search all rows itself."""
    with monkeypatch.context() as patched:
        patched.setattr(fresh_rows, "LANCE_ROWS", 10**9)
        return asked(Store.open(store.spec), mode, **options)


@pytest.mark.parametrize("only", [{}, {"where": equals("path", "new1.pdf")}, {"where": "page_from < 20"}])
@pytest.mark.parametrize("mode", most_slow(["vector", "text", "hybrid"], but=["hybrid"]))
@pytest.mark.sampled(2)
def test_hits_are_those_of_lancedb(
    store: Store, monkeypatch: pytest.MonkeyPatch, mode: str, only: dict[str, str]
) -> None:
    found = asked(store, mode, **only)
    expected = by_lance(store, monkeypatch, mode, **only)
    assert any(hit.path.startswith("new") for hit in found)
    if mode == "vector":
        assert [hit.chunk_id for hit in found] == [hit.chunk_id for hit in expected]
    # LanceDB counts the words of the rows outside the index too, and of those that a filter lets through.
    scores = {hit.chunk_id: hit for hit in expected}
    both = [hit for hit in found if hit.chunk_id in scores]
    assert len(both) >= 0.9 * len(expected)
    for hit in both:
        known = scores[hit.chunk_id]
        for mine, other, near in (
            (hit.vector_score, known.vector_score, {"abs": 1e-4}),
            (hit.text_score, known.text_score, {"rel": 0.15}),
        ):
            assert mine is None or other is None or mine == pytest.approx(other, **near)


@pytest.mark.parametrize("mode", ["text", "hybrid"])
def test_a_word_of_one_fresh_row_comes_first(store: Store, mode: str) -> None:
    store.write([embedded("rare.pdf", ["the zanzibar of the moon and the salt"])])
    hits = store.search(vector_of("x"), text="the zanzibar of runs", mode=mode, limit=3)  # type: ignore[arg-type]
    assert hits[0].path == "rare.pdf"


def test_each_commit_is_seen_and_rows_that_go_are_not(store: Store) -> None:
    def paths(text: str) -> set[str]:
        return {hit.path for hit in store.search(text=text, mode="text", limit=99)}

    assert paths("lantern new0") >= {"new0.pdf"}
    store.write([embedded("new0.pdf", ["An entirely other quagga"], content="c1")])
    assert "new0.pdf" not in paths("new0")
    assert paths("quagga") == {"new0.pdf"}
    hits = store.search(vector_of("An entirely other quagga"), limit=99)
    assert hits[0].path == "new0.pdf"
    assert [hit.path for hit in hits].count("new0.pdf") == 1
    store.remove([embedded("new0.pdf", []).document.doc_id])
    assert paths("quagga") == set()
    # An indexed document that is replaced stands among the fresh rows.
    store.write([embedded("old1.pdf", ["A gnu came by"], content="c1")])
    assert paths("gnu") == {"old1.pdf"}
    assert "old1.pdf" not in paths("old1")


def test_a_reader_that_opens_while_a_run_writes_finds_them_too(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Store.open(store.spec)
    assert [hit.chunk_id for hit in asked(reader, "text")] == [hit.chunk_id for hit in asked(store, "text")]
    assert reader._fresh_of(reader._snapshot()) is not None


def test_rows_that_maintenance_indexes_and_moves_meanwhile_are_found_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = asked(store, "vector")
    store._chunks.table.optimize()
    assert [hit.chunk_id for hit in asked(store, "vector")] == [hit.chunk_id for hit in before]
    store.write([embedded("late.pdf", texts("late", 20))])
    for mode in ("vector", "text", "hybrid"):
        hits = asked(store, mode, limit=500)
        assert len({hit.chunk_id for hit in hits}) == len(hits)
        assert {hit.chunk_id for hit in hits} == {
            hit.chunk_id for hit in by_lance(store, monkeypatch, mode, limit=500)
        }
    fresh = store._fresh_of(store._snapshot())
    assert fresh is not None
    assert sum(len(part.rows) for part, _ in fresh.parts) == 20


def test_a_table_whose_rows_are_all_fresh_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run into a table has no index to look into."""
    store = Store.open(StoreSpec(str(tmp_path)), identity=IDENTITY, create=True)
    store.begin_run("r1", "papers")
    store.write(
        [embedded("a.pdf", ["", "one moon", "two moons and a wall"]), embedded("b.pdf", texts("b", 50))]
    )
    for mode in ("vector", "text", "hybrid"):
        assert {hit.chunk_id for hit in asked(store, mode)} == {
            hit.chunk_id for hit in by_lance(store, monkeypatch, mode)
        }
    fresh = store._fresh_of(store._snapshot())
    assert fresh is not None
    assert fresh.everything


@pytest.mark.parametrize("limit", ["MAX_ROWS", "MAX_VERSIONS"])
def test_lancedb_searches_what_cannot_be_held(
    store: Store, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    expected = asked(store, "text")
    monkeypatch.setattr(fresh_rows, limit, 1)
    reader = Store.open(store.spec)
    assert reader._fresh_of(reader._snapshot()) is None
    found = asked(reader, "text")
    assert {hit.path for hit in found} == {hit.path for hit in expected}


def test_a_version_that_maintenance_deletes_meanwhile_stops_no_search(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Store.open(store.spec)
    table = reader._snapshot()
    last = int(table.version)
    monkeypatch.setattr(type(table), "list_versions", lambda _: [{"version": last}, {"version": 0}])
    assert {hit.path for hit in asked(reader, "text")} == {hit.path for hit in asked(store, "text")}
    assert reader._fresh_of(reader._snapshot()) is None


def test_fresh_rows_are_found_beside_an_index_of_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lancedb.index import IvfSq

    store = Store.open(StoreSpec(str(tmp_path)), identity=IDENTITY, create=True)
    store.begin_run("r0", "papers")
    store.write([embedded("old.pdf", texts("old", 600))])
    store.end_run()
    store._chunks.table.create_index(
        "vector", config=IvfSq(distance_type="cosine", num_partitions=2), name="vector_600"
    )
    store._chunks.table.optimize()
    store.begin_run("r1", "papers")
    store.write([embedded("new.pdf", texts("new", 50))])
    wanted = texts("new", 50)[7]
    for mode in ("vector", "hybrid"):
        hits = store.search(vector_of(wanted), text=wanted, mode=mode, limit=5)  # type: ignore[arg-type]
        assert (hits[0].path, hits[0].text) == ("new.pdf", wanted)
        assert {hit.path for hit in asked(store, mode)} == {"old.pdf", "new.pdf"}
    assert store._fresh_of(store._snapshot()) is not None
