"""A table of an earlier version gets the present columns in place: killed at any step, it is readable and goes on."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from prefect_ollama.blocks.documents.run import RUN_RUNNING
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import Store, StoreSpec, maintain
from prefect_ollama.blocks.lance import _migration as migration
from prefect_ollama.blocks.lance import _schema as schema
from prefect_ollama.blocks.lance.opening import connect
from prefect_ollama.tasks.chunking import ChunkOptions
from prefect_ollama.tasks.parsing import ParseOptions
from prefect_ollama.tasks.planning import ChunkingPlan
from tests.store_samples import IDENTITY, chunk_rows, embedded, undoable, vector_of

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


def test_a_table_that_a_run_of_an_earlier_version_filled(tmp_path: Path) -> None:
    """Ingested by schema version 2: real documents, real vectors, the chunker's version among its options."""
    with ZipFile(DATA / "table-2-ingested.zip") as archive:
        archive.extractall(tmp_path)
    store = Store.open(StoreSpec(str(tmp_path), "documents"))
    before = {row["id"]: (row["text"], row["vector"]) for row in chunk_rows(store)}
    known = set(store.vectors_for(row.doc_id for row in store.manifest()))
    (run,) = store.runs()
    # It was made before texts were embedded in their context.
    chunking = ChunkingPlan(ParseOptions(), ChunkOptions(context_tokens=0), "all-minilm").identity
    same = dataclasses.replace(store.identity, chunker=chunking)
    assert store.identity.chunker == f"v2 {chunking}"
    assert store.identity.fingerprint is not None
    assert store.identity.differences(same) == {}
    assert store.identity.differences(dataclasses.replace(same, chunker=chunking.replace("200", "300")))

    store = Store.open(store.spec, identity=same, create=True)
    assert migration.outdated(connect(store.spec), store.spec) == []
    rows = {row["id"]: row for row in chunk_rows(store)}
    assert {key: (row["text"], row["vector"]) for key, row in rows.items()} == before
    assert set(store.vectors_for(row.doc_id for row in store.manifest())) == known
    titles = {row.path: row.title for row in store.manifest()}
    assert any(titles.values())
    assert all(row["title"] == titles[row["path"]] for row in rows.values())
    assert {(row.parser_version, row.chunker_version) for row in store.manifest()} == {(0, 0)}
    assert {row.path: row.status for row in store.manifest()}["broken.pdf"] == "failed"
    vector = np.asarray(next(iter(rows.values()))["vector"], np.float32)
    assert store.search(vector, limit=1)[0].chunk_id == next(iter(rows))
    assert store.search(text="invoice", mode="text")[0].path == "invoice.pdf"
    assert undoable(store) == {run.run_id}
    store.roll_back(run.run_id, "undo")
    assert (chunk_rows(store), store.manifest()) == ([], [])


@pytest.mark.parametrize("name", ["DOCUMENTS", "RUNS"])
def test_each_of_the_tables_is_refused_if_a_later_version_wrote_it(tmp_path: Path, name: str) -> None:
    spec = StoreSpec(str(tmp_path))
    later = getattr(schema, f"{name}_VERSION") + 1
    marked = getattr(schema, name).with_metadata({b"prefect_ollama": f'{{"schema": {later}}}'.encode()})
    table = spec.documents_table if name == "DOCUMENTS" else spec.runs_table
    Store.open(spec, identity=IDENTITY, create=True)
    connect(spec).create_table(table, schema=marked, mode="overwrite")
    for create in (False, True):
        with pytest.raises(TableError, match=f"{table}.*schema version {later}.*not changed.*Upgrade"):
            Store.open(spec, identity=IDENTITY, create=create)


@pytest.mark.slow
def test_maintenance_migrates(old: StoreSpec) -> None:
    assert any("earlier version" in reason for reason in maintain(old).done)
    assert version(old) == []
    assert maintain(old).done == ()


@pytest.mark.parametrize("commits", [0, 1, 2])
@pytest.mark.sampled(1)
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
    # Columns that the log of runs lacks are added when a run is logged; other metadata has it rewritten too.
    marked = schema.RUNS.with_metadata({b"prefect_ollama": b'{"schema": 1, "marked": true}'})
    monkeypatch.setattr(schema, "RUNS", marked)
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
