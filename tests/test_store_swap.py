"""Embedding again: built beside, swapped in by one commit, and back again if need be."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from prefect_ollama.blocks.documents import Identity
from prefect_ollama.blocks.errors import TableError, TableMissing
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.lance import _migration as migration
from prefect_ollama.blocks.lance._write_lock import WriteLock
from tests.store_samples import IDENTITY, chunk_rows, document_rows, embedded, sentences, undoable, vector_of

NEW = dataclasses.replace(IDENTITY, model="bge-m3", digest="sha256:9", dimension=12)


def fill(spec: StoreSpec, identity: Identity, run: str) -> Store:
    store = Store.open(spec, identity=identity, create=True)
    for source in ("a", "b"):
        store.begin_run(f"{run} {source}", source)
        store.write(
            [
                embedded(f"{n}.pdf", sentences(f"{source}{n}", 4), source, dimension=identity.dimension)
                for n in range(3)
            ]
        )
        store.end_run()
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return fill(StoreSpec(str(tmp_path / "db")), IDENTITY, "first")


def all_rows(store: Store) -> tuple[Any, Any]:
    return chunk_rows(store), document_rows(store)


def test_a_table_is_swapped_and_swapped_back(store: Store) -> None:
    reader, old = Store.open(store.spec), all_rows(store)
    staging = fill(store.spec.staging, NEW, "anew")
    assert all_rows(store) == old
    expected = all_rows(staging)

    run = store.swap_in("swap")
    assert run.kind == "re-embed"
    assert run.counts == {"chunks": 24}
    assert all_rows(store) == expected
    assert store.identity == NEW
    text = "b1 says thing 2"
    assert store.search(vector_of(text, 12), limit=1)[0].text == text
    assert store.search(text="b1 thing", mode="text", limit=1)[0].source == "b"
    with pytest.raises(TableError, match=r"dimension was 8, is 12"):
        reader.search(vector_of(text))
    with pytest.raises(TableError, match="replaced"):
        reader.begin_run("late", "a")
    with pytest.raises(TableMissing):
        Store.open(store.spec.staging)
    with pytest.raises(TableError, match="not comparable"):
        Store.open(store.spec, identity=IDENTITY)
    assert undoable(store) == {"swap"}
    with pytest.raises(TableError, match="not comparable"):
        store.roll_back("first a", "undo")

    store.begin_run("next", "a")
    store.write([embedded("0.pdf", ["changed"], "a", "c1", dimension=12)])
    store.end_run()
    with pytest.raises(TableError, match="'next'"):
        store.roll_back("swap", "undo")
    store.roll_back("next", "undo next")
    assert all_rows(store) == expected
    store.roll_back("swap", "undo")
    assert all_rows(store) == old
    assert store.identity == IDENTITY
    assert Store.open(store.spec, identity=IDENTITY).search(vector_of(text), limit=1)[0].text == text
    with pytest.raises(TableError, match="rolled back already"):
        store.roll_back("swap", "again")


def test_open_runs_are_in_the_way(store: Store) -> None:
    with pytest.raises(TableMissing):
        store.swap_in("swap")
    staging = fill(store.spec.staging, NEW, "anew")
    old = all_rows(store)
    for each in (staging, Store.open(store.spec)):
        each.begin_run("open", "a")
        with pytest.raises(TableError, match="'open' is open"):
            store.swap_in("swap")
        each.end_run()
    assert all_rows(store) == old


def test_no_run_begins_while_a_table_is_swapped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store.spec.staging, NEW, "anew")
    other, rewrite = Store.open(store.spec), migration.rewrite
    monkeypatch.setattr(WriteLock, "_take", lambda self: None)  # as if on another host

    def meanwhile(spec: StoreSpec, name: str, source: Any, schema: Any) -> None:
        if name == spec.table:
            with pytest.raises(TableError, match="'swap' is open"):
                other.begin_run("meanwhile", "a")
        rewrite(spec, name, source, schema)

    monkeypatch.setattr(migration, "rewrite", meanwhile)
    store.swap_in("swap")
    assert [run.status for run in store.runs()] == ["done", "done", "done", "failed"]


def test_a_swap_that_was_stopped_half_way_can_be_repeated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging = fill(store.spec.staging, NEW, "anew")
    expected = all_rows(staging)
    rewrite = migration.rewrite

    def stop(spec: StoreSpec, name: str, source: Any, schema: Any) -> None:
        if name == spec.documents_table:
            raise KeyboardInterrupt
        rewrite(spec, name, source, schema)

    monkeypatch.setattr(migration, "rewrite", stop)
    with pytest.raises(KeyboardInterrupt):
        store.swap_in("stopped")
    monkeypatch.undo()

    again = Store.open(store.spec, identity=NEW)
    again.swap_in("swap")
    assert all_rows(again) == expected
    assert [run.status for run in again.runs()] == ["done", "done", "failed", "done"]
