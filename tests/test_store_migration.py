"""A table of an earlier version gets the present columns in place: killed at any step, it is readable and goes on."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from zipfile import ZipFile

import pyarrow as pa
import pytest

from prefect_ollama.blocks.documents.run import RUN_RUNNING
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.lance import _migration as migration
from prefect_ollama.blocks.lance import _schema as schema
from prefect_ollama.blocks.lance.commits import connect
from tests.store_samples import IDENTITY, chunk_rows, embedded, vector_of

DATA = Path(__file__).parent / "data"
OLD_TABLES = ["chunks__runs", "chunks__documents", "chunks"]
"""Those of `table-1.zip` that have not the present columns, in the order in which they get them."""


@pytest.fixture
def old(tmp_path: Path) -> StoreSpec:
    with ZipFile(DATA / "table-1.zip") as archive:
        archive.extractall(tmp_path)
    return StoreSpec(str(tmp_path))


def version(spec: StoreSpec) -> list[str]:
    return [table.name for table, _ in migration.outdated(connect(spec), spec)]


def test_to_read_changes_nothing(old: StoreSpec) -> None:
    store = Store.open(old)
    assert version(old) == OLD_TABLES
    assert store.search(text="東京", mode="text")[0].path == "été/b.pdf"
    assert store.search(vector_of("two"), limit=1)[0].text == "two"
    assert len(store.manifest()) == 3
    assert version(old) == OLD_TABLES


def test_to_write_migrates_and_embeds_nothing(old: StoreSpec) -> None:
    before = {row["id"]: row["vector"] for row in chunk_rows(Store.open(old))}
    store = Store.open(old)
    store.begin_run("third", "papers")
    assert version(old) == []
    assert {row["id"]: row["vector"] for row in chunk_rows(store)} == before
    store.write([embedded("c.pdf", ["Eine Straße"])])
    store.end_run()
    assert [hit.text for hit in store.search(text="STRASSE", mode="text")] == ["Eine Straße"]
    assert store.search(text="東京", mode="text")[0].path == "été/b.pdf"
    store.roll_back("third", "undo")
    store.roll_back("second", "undo 2")
    assert len(chunk_rows(store)) == 6
    assert all(row["words"] for row in chunk_rows(store))


def test_upkeep_migrates(old: StoreSpec) -> None:
    assert any("earlier version" in reason for reason in Store.open(old).maintain().done)
    assert version(old) == []
    assert Store.open(old).maintain().done == ()


@pytest.mark.parametrize("commits", [0, 1, 2])
def test_a_migration_that_was_killed_goes_on(
    old: StoreSpec, commits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two commits, and within one: then the rows are written and no version has them."""
    done = 0
    rewrite, upgraded = migration.rewrite, schema.upgraded

    def dying_rewrite(*args: object) -> None:
        nonlocal done
        if done == commits:
            monkeypatch.setattr(schema, "upgraded", lambda *_: 1 / 0)
        rewrite(*args)  # type: ignore[arg-type]
        done += 1

    monkeypatch.setattr(migration, "rewrite", dying_rewrite)
    further = schema.RUNS.append(pa.field("further", pa.string(), nullable=False))
    monkeypatch.setattr(schema, "RUNS", further)
    rows = chunk_rows(Store.open(old))
    assert version(old) == OLD_TABLES
    with pytest.raises(TableError):
        Store.open(old).upgrade()
    monkeypatch.setattr(schema, "upgraded", upgraded)
    assert version(old) == OLD_TABLES[commits:]
    assert chunk_rows(Store.open(old)) == rows
    assert Store.open(old).search(text="東京", mode="text")
    done = -9
    assert Store.open(old).upgrade() == OLD_TABLES[commits:]
    assert version(old) == []
    assert Store.open(old).search(text="東京", mode="text")
    assert [run.run_id for run in Store.open(old).runs()] == ["first", "second"]


def test_an_open_run_of_another_process_is_not_disturbed(old: StoreSpec) -> None:
    store = Store.open(old)
    last = dataclasses.replace(store.runs()[-1], status=RUN_RUNNING, host="elsewhere", ended_at=None)
    store._log.put(last, dataclasses.replace(last, run_id="now", started_at=datetime.now(UTC)))
    with pytest.raises(TableError, match="'now' is open"):
        store.begin_run("mine", "papers")
    assert version(old) == ["chunks__documents", "chunks"]
    assert Store.open(old, identity=None).identity == IDENTITY
