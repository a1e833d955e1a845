"""Maintenance: it is done when the statistics show that it is due, within limits, and it changes no rows."""

from __future__ import annotations

import os
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefect_ollama.blocks.documents import Document, EmbeddedDocument, Identity
from prefect_ollama.blocks.documents.chunk import Chunk
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import Store, StoreSpec, maintain, maintenance, maintenance_process
from prefect_ollama.blocks.lance._indices import vector_index
from prefect_ollama.blocks.lance.commits import files_of
from prefect_ollama.blocks.lance.filters import equals
from tests.store_samples import IDENTITY, chunk_rows, document_rows, embedded, sentences, undoable, vector_of


def unindexed(table: Any) -> dict[str, int]:
    """How many rows are outside the index of each column."""
    return {index.columns[0]: int(index.num_unindexed_rows) for index in table.list_indices()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store.open(StoreSpec(str(tmp_path / "db")), identity=IDENTITY, create=True)
    opened.begin_run("r1", "papers")
    return opened


def test_nothing_is_due_on_a_small_table(store: Store) -> None:
    store.write([embedded(f"{n}.pdf", sentences(str(n), 5)) for n in range(10)])
    table, before, version = store._chunks.table, store.stats(), store.version
    assert (before.chunks, before.documents, files_of(table).count) == (50, {"stored": 10}, 1)
    assert unindexed(table) == {"doc_id": 50, "text_hash": 50, "words": 50}
    assert vector_index(table) is None
    assert maintain(store.spec).done == ()
    assert (store.stats(), store.version, files_of(table).count) == (before, version, 1)
    assert unindexed(table) == {"doc_id": 50, "text_hash": 50, "words": 50}


@pytest.mark.slow
def test_many_small_commits_become_one_file(store: Store) -> None:
    for n in range(maintenance.SMALL_FILES):
        store.write([embedded(f"{n}.pdf", sentences(str(n), 3))])
    rows = chunk_rows(store), document_rows(store)
    assert [reason.split()[0] for reason in maintenance.due(store.spec)] == ["chunks", "chunks__documents"]
    reader = Store.open(store.spec)
    report = maintain(store.spec)
    assert len(report.done) == 2
    assert report.peak_bytes > 2**20
    assert files_of(store._chunks.table).count == 1
    assert unindexed(store._chunks.table) == {"doc_id": 0, "text_hash": 0, "words": 0}
    assert maintenance.due(store.spec) == []
    for each in (store, reader):
        assert (chunk_rows(each), document_rows(each)) == rows
    store.write([embedded("0.pdf", ["changed after"], content="c1")])
    assert {row["text"] for row in chunk_rows(store) if row["path"] == "0.pdf"} == {"changed after"}
    assert store.search(text="changed after", mode="text")[0].text == "changed after"
    assert [hit.text for hit in store.search(vector_of("x"), where=equals("path", "0.pdf"))] == [
        "changed after"
    ]


@pytest.mark.slow
def test_old_versions_go_and_with_them_the_way_back(store: Store) -> None:
    store.write([embedded("a.pdf", ["a"])])
    store.end_run()
    store.begin_run("r2", "papers")
    store.write([embedded("a.pdf", ["b"], content="c1")])
    store.end_run()
    maintain(store.spec, force=True)
    assert undoable(store) == {"r1", "r2"}
    maintain(store.spec, force=True, keep=timedelta(0))
    assert undoable(store) == set()
    with pytest.raises(TableError, match="not kept any more"):
        store.roll_back("r2", "undo")
    assert [row["text"] for row in chunk_rows(store)] == ["b"]


@pytest.mark.slow
def test_a_tagged_version_stays(store: Store) -> None:
    store.write([embedded("a.pdf", ["a"])])
    version = store._chunks.version
    store._chunks.table.tags.create("mine", version)
    store.write([embedded("a.pdf", ["b"], content="c1")])
    maintain(store.spec, force=True, keep=timedelta(0))
    assert version in {each["version"] for each in store._chunks.table.list_versions()}


def test_left_over_files_of_killed_writers_go(store: Store) -> None:
    store.write([embedded("a.pdf", ["a"])])
    folder = Path(store.spec.uri, "chunks.lance")
    names = ("data/.tmpNepZ5o", "data/a1.lance#2", "_versions/18446744073709551000.manifest#1")
    past = time.time() - 2 * maintenance.LEFT_OVER.total_seconds()
    for name in names:
        for path, when in ((folder / name, past), (folder / f"{name}1", time.time())):
            path.write_bytes(b"half a file")
            os.utime(path, (when, when))
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert maintain(store.spec).left_over_files == len(names)
    for name in names:
        del kept[folder / name]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == kept
    assert len(chunk_rows(store)) == 1


def test_maintenance_that_lacks_memory_says_so_and_harms_nothing(store: Store) -> None:
    store.write([embedded("a.pdf", sentences("a", 50))])
    rows = chunk_rows(store)
    if sys.platform == "linux":
        with pytest.raises(TableError, match=r"more than 8 MiB of memory and was stopped.*--memory-mb"):
            maintain(store.spec, force=True, memory=8 * 2**20)
    with pytest.raises(TableError, match=r"longer than it was given and was stopped.*Run `maintain` again"):
        maintain(store.spec, force=True, timeout=0.05)
    assert chunk_rows(store) == rows


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
def test_maintenance_that_lacks_space_says_so(store: Store) -> None:
    store.write([embedded("a.pdf", sentences("a", 50))])
    rows = chunk_rows(store)
    with maintenance.MaintenanceProcess() as process:
        process.start()
        assert process._child is not None
        resource.prlimit(process._child.pid, resource.RLIMIT_FSIZE, (100, 100))
        with pytest.raises(
            TableError, match="the disk is full, or a quota or size limit is reached"
        ) as caught:
            maintain(store.spec, force=True, maintenance_process=process)
    assert ".rs:" not in str(caught.value)
    assert "Make free space" in caught.value.remedy
    assert chunk_rows(store) == rows


def test_vectors_that_are_much_alike_are_indexed_in_fewer_cells(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # LanceDB refuses more cells than it can form when they are more than 256.
    monkeypatch.setattr(maintenance_process, "cells_for", lambda rows: rows // 2)
    store.write([embedded(f"{n}.pdf", ["left blank", "form", f"part {n % 3}"] * 10) for n in range(40)])
    assert maintenance_process._index_vectors(store._chunks.table) == "indexed 1200 vectors in 150 cells"
    assert vector_index(store._chunks.table) is not None
    assert store.search(vector_of("part 2"))[0].text == "part 2"


@pytest.mark.slow  # 20,000 vectors are written, indexed and searched
def test_a_large_table_gets_an_index_that_finds_what_is_near(tmp_path: Path) -> None:
    dimension, rng = 32, np.random.default_rng(7)
    store = Store.open(StoreSpec(str(tmp_path / "db")), identity=Identity("m", "d", dimension), create=True)
    store.begin_run("r1", "papers")
    centres = rng.standard_normal((200, dimension))

    def documents(first: int, count: int) -> list[EmbeddedDocument]:
        made = []
        for number in range(first, first + count):
            chunks = [Chunk(f"{number} {n}", n, 1, 1) for n in range(100)]
            vectors = centres[rng.integers(200, size=100)] + 0.5 * rng.standard_normal((100, dimension))
            made.append(
                EmbeddedDocument(
                    Document(str(number), "papers", f"{number}.pdf"), chunks, vectors.astype(np.float32)
                )
            )
        return made

    store.write(documents(0, 200))
    assert any("20000 vectors" in reason for reason in maintenance.due(store.spec))
    questions = (centres[:40] + 0.5 * rng.standard_normal((40, dimension))).astype(np.float32)

    def near() -> list[set[str]]:
        return [{hit.chunk_id for hit in store.search(each, limit=10)} for each in questions]

    exact = near()
    if sys.platform == "linux":
        with pytest.raises(TableError, match="memory and was stopped"):
            maintain(store.spec, memory=160 * 2**20)  # about what it has when LanceDB is loaded
        assert near() == exact
    maintain(store.spec)
    assert vector_index(store._chunks.table) is not None
    assert maintenance.due(store.spec) == []
    found = near()
    recall = sum(len(a & b) for a, b in zip(exact, found, strict=True)) / 400
    print(f"recall@10 {recall:.3f}")
    assert recall >= 0.95
    new = documents(200, 1)
    store.write(new)
    hit = store.search(new[0].vectors[3], limit=1)[0]
    assert (hit.doc_id, hit.position) == ("200", 3)
    store.write([EmbeddedDocument(new[0].document, new[0].chunks[:2], new[0].vectors[:2])])
    assert store.search(new[0].vectors[3], limit=1)[0].doc_id != "200"
