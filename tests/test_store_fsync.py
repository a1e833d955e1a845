"""A commit is on the disk: every file of the tables and every folder that names one was synced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prefect_ollama.blocks.lance import Store, StoreSpec
from tests.store_samples import IDENTITY, embedded, sentences


@pytest.mark.slow
def test_all_that_is_committed_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: dict[int, int] = {}  # by inode, how large the file was then
    really = os.fsync

    def sync(file: int) -> None:
        stat = os.fstat(file)
        synced[stat.st_ino] = stat.st_size
        really(file)

    monkeypatch.setattr(os, "fsync", sync)

    def assert_synced() -> None:
        for path in (tmp_path / "db").rglob("*"):
            if not path.name.startswith((".", "latest_version_hint")):
                stat = path.stat()
                assert stat.st_ino in synced, path
                assert path.is_dir() or synced[stat.st_ino] == stat.st_size

    store = Store.open(StoreSpec(str(tmp_path / "db")), identity=IDENTITY, create=True)
    assert_synced()
    store.begin_run("first", "papers")
    assert_synced()
    store.write([embedded(f"{name}.pdf", sentences(name, 4)) for name in "abc"])
    assert_synced()
    store.write([embedded("a.pdf", sentences("anew", 2), content="c1")])
    store.remove([each.doc_id for each in store.manifest() if each.path == "b.pdf"])
    store.end_run()
    assert_synced()
    store.roll_back("first", "undo")
    assert_synced()
