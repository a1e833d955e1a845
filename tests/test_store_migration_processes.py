"""Migrations by real processes: killed at every step, several at once, and of a reader who may not write."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.lance import _migration as migration
from prefect_ollama.blocks.lance.opening import connect
from tests.other_user import needs_root, open_folder
from tests.store_samples import chunk_rows, document_rows, vector_of

DATA = Path(__file__).parent / "data"
pytestmark = pytest.mark.slow  # each migration is a process that imports LanceDB


def unzipped(folder: Path) -> StoreSpec:
    with ZipFile(DATA / "table-1.zip") as archive:
        archive.extractall(folder)
    return StoreSpec(str(folder))


def migrate(spec: StoreSpec, *how: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.migration_process", spec.uri, *how],
        capture_output=True,
        text=True,
        timeout=240,
        input="\n",
    )


def assert_readable(spec: StoreSpec) -> None:
    store = Store.open(spec)
    assert store.search(text="東京", mode="text")[0].path == "été/b.pdf"
    assert store.search(vector_of("two"), limit=1)[0].text == "two"
    assert len(store.manifest()) == 3
    assert [run.run_id for run in store.runs() if run.kind != "migrate"] == ["first", "second"]


def test_killed_at_any_step_it_is_readable_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """Every step of a migration: the claim, each rewrite and in it, the indices, the claim's end."""
    whole = unzipped(tmp_path / "whole")
    finished = migrate(whole)
    *steps, rewrote = finished.stdout.splitlines()
    assert rewrote == "rewrote 2", finished.stderr  # the log of runs gets its column with the claim
    assert sum(step == "before rewrite" for step in steps) == 2
    wanted = chunk_rows(Store.open(whole)), document_rows(Store.open(whole))
    vectors = {row["id"]: row["vector"] for row in chunk_rows(Store.open(unzipped(tmp_path / "old")))}
    assert {row["id"]: row["vector"] for row in wanted[0]} == vectors
    for number, step in enumerate(steps):
        spec = unzipped(tmp_path / f"{number}")
        killed = migrate(spec, str(number))
        assert killed.returncode == -signal.SIGKILL, f"{step}: {killed.stderr}"
        assert_readable(spec)
        store = Store.open(spec)
        store.begin_run("third", "papers")
        assert migration.outdated(connect(spec), spec) == [], step
        store.end_run()
        assert (chunk_rows(store), document_rows(store)) == wanted, step
        assert [run.run_id for run in store.runs()] == ["first", "second", "third"], step
        shutil.rmtree(spec.uri)


@pytest.mark.parametrize("how", [(), ("no-lock",)])
def test_of_processes_that_begin_at_once_one_migrates_and_nothing_is_lost(
    tmp_path: Path, how: tuple[str, ...]
) -> None:
    spec = unzipped(tmp_path)
    command = [sys.executable, "-m", "tests.migration_process", spec.uri, *how]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert not how or process.stdout.readline() == "ready\n"
    printed = [process.communicate("\n", timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    rewrites = [text.count("after rewrite") for text in printed]
    assert sorted(rewrites) == [0, 0, 2]
    assert_readable(spec)
    store = Store.open(spec)
    assert [run.run_id for run in store.runs()] == ["first", "second"]
    assert len(chunk_rows(store)) == len({row["id"] for row in chunk_rows(store)}) == 5


@needs_root
def test_who_may_not_write_reads_the_older_form(tmp_path: Path) -> None:
    script = """
import os, sys
from prefect_ollama.blocks.lance import _import_lancedb
from prefect_ollama.blocks.errors import TableError
from prefect_ollama.blocks.lance import Store, StoreSpec
_import_lancedb.load()
Store, StoreSpec  # exported lazily
# Imported as root, because the interpreter may be in a folder that others may not enter.
os.setgroups([]); os.setgid(65534); os.setuid(65534)
store = Store.open(StoreSpec(sys.argv[1]))
hit = store.search(text="two", mode="text")[0]
print(hit.text, hit.page_label_from == "")
print(len(store.manifest()), len(store.runs()), store.manifest()[0].parser_version)
try:
    store.begin_run("mine", "papers")
except TableError as error:
    print(type(error).__name__, error.cause, error.state, error.remedy, sep=" | ")
"""
    with open_folder() as folder:
        spec = unzipped(folder / "db")
        program = folder / "read.py"
        program.write_text(script, encoding="utf-8")
        for path in (folder / "db").rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        (folder / "db").chmod(0o755)
        done = subprocess.run(
            [sys.executable, program, spec.uri], capture_output=True, text=True, timeout=240
        )
        printed = done.stdout.splitlines()
        assert done.returncode == 0, done.stderr
        assert printed[:2] == ["two True", "3 2 0"]
        assert "cannot be brought to the present schema" in printed[2]
        assert "no right" in printed[2]
        assert len(migration.outdated(connect(spec), spec)) == 3
