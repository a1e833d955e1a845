"""Rolling a run back: its source is as it was before, and nothing else is touched."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from prefect_ollama.blocks.documents import FAILED, EmbeddedDocument
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import Store, StoreSpec
from tests.store_samples import IDENTITY, document, embedded, sentences, undoable


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(StoreSpec(str(tmp_path / "db")), identity=IDENTITY, create=True)


def run(store: Store, run_id: str, *documents: EmbeddedDocument, source: str = "papers") -> None:
    store.begin_run(run_id, source)
    store.write(documents)
    store.end_run()


def everything(store: Store, *sources: str) -> list[Any]:
    """Return all rows, with their runs and times, of these sources or of all."""
    chunks = store._chunks.table.to_arrow().sort_by("id").to_pylist()
    documents = store._manifest.rows().sort_by("doc_id").to_pylist()
    return [row for row in chunks + documents if not sources or row["source"] in sources]


def test_a_run_of_every_change_is_undone(store: Store) -> None:
    names = ["same", "edited", "shrunk", "moved", "removed"]
    first = {name: embedded(f"{name}.pdf", sentences(name, 6)) for name in names}
    run(store, "r1", *first.values())
    before = everything(store)

    store.begin_run("r2", "papers")
    store.write([embedded("edited.pdf", [*sentences("edited", 6), "more"], content="c1")])
    store.write([embedded("shrunk.pdf", ["one"], content="c1"), embedded("new.pdf", ["new"])])
    store.move({first["moved"].document.doc_id: document("sub/moved.pdf")})
    store.remove([first["removed"].document.doc_id])
    store.record([document("broken.pdf", status=FAILED, kind="junk")])
    store.end_run()
    assert everything(store) != before

    assert undoable(store) == {"r1", "r2"}
    undo = store.roll_back("r2", "undo r2")
    assert everything(store) == before
    assert undo.counts == {"restored": 4, "removed": 3}
    assert [(each.run_id, each.status) for each in store.runs()] == [
        ("r1", "done"),
        ("r2", "rolled back"),
        ("undo r2", "done"),
    ]
    assert undoable(store) == {"r1"}
    for wrong in ("r2", "undo r2", "no such"):
        with pytest.raises(TableError, match=wrong):
            store.roll_back(wrong, "again")
    store.roll_back("r1", "undo r1")
    assert everything(store) == []


def test_other_sources_stay(store: Store) -> None:
    run(store, "a1", embedded("x.pdf", ["a1"], source="a"), source="a")
    run(store, "b1", embedded("x.pdf", ["b1"], source="b"), source="b")
    before = everything(store, "a")
    run(store, "a2", embedded("x.pdf", ["a2"], source="a", content="c1"), source="a")
    run(store, "b2", embedded("x.pdf", ["b2"], source="b", content="c1"), source="b")
    others = everything(store, "b")
    store.roll_back("a2", "undo")
    assert everything(store, "a") == before
    assert everything(store, "b") == others


def test_later_runs_are_named_and_undone_only_on_request(store: Store) -> None:
    run(store, "r1", embedded("x.pdf", ["1"]))
    before = everything(store)
    for number in (2, 3, 4):
        run(store, f"r{number}", embedded("x.pdf", [str(number)], content=f"c{number}"))
    now = everything(store)
    with pytest.raises(TableError, match="'r3', 'r4'"):
        store.roll_back("r2", "undo")
    assert everything(store) == now
    store.roll_back("r4", "undo r4")
    store.roll_back("r2", "undo", including_later=True)
    assert everything(store) == before
    assert [each.status for each in store.runs()] == [
        "done", "rolled back", "rolled back", "rolled back", "done", "done"
    ]  # fmt: skip


def test_an_open_run_is_in_the_way(store: Store, tmp_path: Path) -> None:
    run(store, "r1", embedded("x.pdf", ["1"]))
    other = Store.open(StoreSpec(str(tmp_path / "db")))
    other.begin_run("r2", "papers")
    with pytest.raises(TableError, match=r"'r2'.*still open"):
        store.roll_back("r1", "undo", including_later=True)
    other.end_run()
    store.roll_back("r1", "undo", including_later=True)
    assert everything(store) == []


def test_an_interrupted_run_and_an_interrupted_roll_back_can_be_undone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(store, "r1", *(embedded(f"{n}.pdf", sentences(str(n), 4)) for n in range(3)))
    before = everything(store)
    store.begin_run("r2", "papers")
    store.write([embedded("0.pdf", ["new"], content="c1")])
    monkeypatch.setattr(store._manifest, "put", lambda documents: None)
    store.write([embedded("1.pdf", ["new"], content="c1")])
    monkeypatch.undo()
    store._run = None
    store._log.put(dataclasses.replace(store.runs()[1], pid=2**22 + 1))

    def fail(rows: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(store._manifest, "put_rows", fail)
    with pytest.raises(KeyboardInterrupt):
        store.roll_back("r2", "stopped")
    assert [each.status for each in store.runs()] == ["done", "interrupted", "failed"]
    store.roll_back("r2", "undo")
    assert everything(store) == before


def test_versions_that_are_gone_are_said_to_be(store: Store) -> None:
    run(store, "r1", embedded("x.pdf", ["1"]))
    run(store, "r2", embedded("x.pdf", ["2"], content="c1"))
    now = everything(store)
    store._log.put(dataclasses.replace(store.runs()[1], chunks_before=999))
    assert undoable(store) == {"r1"}
    with pytest.raises(TableError, match="not kept any more"):
        store.roll_back("r2", "undo")
    assert everything(store) == now
    assert len(store.runs()) == 2
