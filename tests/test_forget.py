"""Documents and sources leave a table; those that moved or stand in two sources are told."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from prefect.settings import PREFECT_HOME, temporary_settings

from prefect_ollama.blocks import LanceTable
from prefect_ollama.blocks.documents import STALE, Document
from prefect_ollama.blocks.errors import ConfigurationError, TableError
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.user_path import with_home
from prefect_ollama.flows import forget, forgettable, ingest_pdfs, preview_roll_back, roll_back, search
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from prefect_ollama.tasks.planning import find_files, make_plan
from prefect_ollama.tasks.planning._notes import notes_on
from prefect_ollama.tasks.planning.stored_paths import LISTED, _matches_pattern, documents_named
from tests.flow_samples import prose, write_pdf
from tests.nodes import Node, nodes
from tests.store_samples import IDENTITY, chunk_rows, document_rows, embedded, sentences
from tests.test_planning import fill, stored

# Which documents are meant


def rows(*places: tuple[str, str]) -> list[Document]:
    return [Document(f"{source}|{path}", source, path) for source, path in places]


TABLE = rows(
    ("/a", "one.pdf"),
    ("/a", "sub/two.pdf"),
    ("/a", "sub/deep/three.pdf"),
    ("/a", "odd[1].pdf"),
    ("/a/sub", "two.pdf"),
    ("/ab", "one.pdf"),
    (LISTED, "/a/one.pdf"),
    (LISTED, "/elsewhere/four.pdf"),
)


@pytest.mark.parametrize(
    ("what", "source", "found"),
    [
        ("/a", None, ["/a|one.pdf", "/a|odd[1].pdf", "/a|sub/deep/three.pdf", "/a|sub/two.pdf"]),
        ("/a/", None, ["/a|one.pdf", "/a|odd[1].pdf", "/a|sub/deep/three.pdf", "/a|sub/two.pdf"]),
        ("/a/sub", None, ["/a/sub|two.pdf"]),
        ("/a/sub/deep", None, ["/a|sub/deep/three.pdf"]),
        ("files", None, ["files|/a/one.pdf", "files|/elsewhere/four.pdf"]),
        ("/a/one.pdf", None, ["/a|one.pdf", "files|/a/one.pdf"]),
        ("/a/one.pdf", "files", ["files|/a/one.pdf"]),
        ("/a/odd[1].pdf", None, ["/a|odd[1].pdf"]),
        ("sub/two.pdf", None, ["/a|sub/two.pdf"]),
        ("sub", None, ["/a|sub/deep/three.pdf", "/a|sub/two.pdf"]),
        ("one.pdf", None, ["/a|one.pdf", "/ab|one.pdf"]),
        ("/a/sub/*.pdf", None, ["/a|sub/two.pdf", "/a/sub|two.pdf"]),
        ("/a/**/t*.pdf", "/a", ["/a|sub/deep/three.pdf", "/a|sub/two.pdf"]),
        ("**/t*.pdf", "/a", ["/a|sub/deep/three.pdf", "/a|sub/two.pdf"]),
        ("*.pdf", "/ab", ["/ab|one.pdf"]),
        ("/elsewhere", None, ["files|/elsewhere/four.pdf"]),
    ],
)
def test_a_name_means_a_source_a_path_a_folder_or_a_pattern(
    what: str, source: str | None, found: list[str]
) -> None:
    assert {row.doc_id for row in documents_named([what], TABLE, source=source)} == set(found)


@pytest.mark.parametrize("what", ["", "/b", "/a/o", "two", "*.txt", "/a/sub/two.pdf/x"])
def test_a_name_that_means_nothing_is_refused_with_what_there_is(what: str) -> None:
    with pytest.raises(ConfigurationError, match="no document") as caught:
        documents_named(["/a", what], TABLE)
    assert repr(what) in caught.value.cause
    assert "'/ab'" in caught.value.remedy
    with pytest.raises(ConfigurationError, match="It has no documents"):
        documents_named([what], [])


def test_many_folders_of_any_name_take_no_time() -> None:
    parts = [f"f{number}" for number in range(40)]
    assert not _matches_pattern(parts, ["**"] * 40 + ["x"])
    assert _matches_pattern([*parts, "x"], ["**"] * 40 + ["x"])
    assert _matches_pattern(["a", "x"], ["a", "**", "x"])
    assert not _matches_pattern(["a"], ["a", "?"])


def test_the_home_of_an_unknown_user_is_a_name_like_others() -> None:
    assert with_home("~no-such-user/papers") == Path("~no-such-user/papers")
    assert with_home("~/papers") == Path.home() / "papers"
    assert with_home("~no-such-user/papers").absolute() != with_home("~/papers")


def test_a_path_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").mkdir()
    monkeypatch.chdir(tmp_path)
    table = rows((f"{tmp_path}/real", "a.pdf"), (f"{tmp_path}/gone", "b.pdf"))
    for what in ("real", "./real", "link", f"{tmp_path}/link"):
        assert [row.path for row in documents_named([what], table)] == ["a.pdf"]
    for what in ("gone", "./gone/", "gone/b.pdf", "gone/*.pdf", "gone/../gone"):
        assert [row.path for row in documents_named([what], table)] == ["b.pdf"]


def test_only_documents_of_other_sources_are_said_to_belong_to_one() -> None:
    assert notes_on(documents_named(["/a/sub/deep"], TABLE), TABLE) == [
        "1 document below the same folder, of another source, '/a/sub', will stay.",
        "1 document below the same folder, of another source, single files ('files'), will stay.",
    ]


# Plans that know other sources


def test_a_folder_that_was_moved_is_recognised(tmp_path: Path) -> None:
    fill(tmp_path, "A/one.pdf", "A/two.pdf", "A/three.pdf")
    before = stored(find_files(tmp_path / "A"))
    (tmp_path / "A").rename(tmp_path / "B")
    (tmp_path / "B" / "two.pdf").write_bytes(b"something else")
    plan = make_plan(find_files(tmp_path / "B"), [], others=before)
    assert {(old, new.source, new.path) for old, new in plan.moved} == {
        (row.doc_id, str(tmp_path / "B"), row.path) for row in before if row.path != "two.pdf"
    }
    assert [file.path for file in plan.new] == ["two.pdf"]
    assert plan.bookkeeping
    (note,) = plan.notes
    assert note.startswith("2 files have the content of documents of ")
    assert f"`forget` '{tmp_path}/A'" in note


def test_a_copy_of_a_folder_that_is_there_is_not_moved(tmp_path: Path) -> None:
    fill(tmp_path, "A/one.pdf")
    before = stored(find_files(tmp_path / "A"))
    shutil.copytree(tmp_path / "A", tmp_path / "B")
    plan = make_plan(find_files(tmp_path / "B"), [], others=before)
    assert (plan.moved, [file.path for file in plan.new], plan.notes) == ((), ["one.pdf"], ())


def test_sources_that_overlap_are_told(tmp_path: Path) -> None:
    fill(tmp_path, "A/one.pdf", "A/inner/two.pdf", "B/three.pdf")
    outer, inner, single = (find_files(tmp_path / name) for name in ("A", "A/inner", "A/one.pdf"))
    pattern = find_files(f"{tmp_path}/A/inner/*.pdf")
    for here, there, told in (
        (outer, inner, f"'{tmp_path}/A/inner'"),
        (inner, outer, f"'{tmp_path}/A'"),
        (pattern, outer, f"'{tmp_path}/A'"),
        (outer, single, "single files ('files')"),
        (single, outer, f"'{tmp_path}/A'"),
    ):
        (note,) = make_plan(here, [], others=stored(there)).notes
        assert f"under the source {told} too" in note
        assert "`forget`" in note
    assert make_plan(find_files(tmp_path / "B"), [], others=stored(outer)).notes == ()


def test_a_file_that_was_named_by_a_link_overlaps_too(tmp_path: Path) -> None:
    fill(tmp_path, "A/one.pdf")
    (tmp_path / "link").symlink_to(tmp_path / "A")
    (note,) = make_plan(
        find_files(tmp_path / "A"), [], others=stored(find_files(tmp_path / "link/one.pdf"))
    ).notes
    assert note.startswith("1 file is in the table under the source single files")


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    fill(tmp_path, "notes.txt")
    (note,) = make_plan(find_files(tmp_path), []).notes
    assert "There is no PDF in" in note


# The store


@pytest.fixture
def spec(tmp_path: Path) -> StoreSpec:
    return StoreSpec(str(tmp_path / "db"))


@pytest.fixture
def store(spec: StoreSpec) -> Store:
    opened = Store.open(spec, identity=IDENTITY, create=True)
    for source in ("/a", "/b"):
        opened.begin_run(f"of {source}", source)
        opened.write([embedded(f"{n}.pdf", sentences(f"{source}{n}", 3), source) for n in range(3)])
        opened.end_run()
    return opened


def test_what_is_forgotten_is_gone_and_comes_back_by_a_roll_back(store: Store) -> None:
    before = chunk_rows(store), document_rows(store)
    ids = [each.doc_id for each in store.manifest("/a")]
    run = store.forget("f", "/a", ids[:2])
    assert (run.kind, run.status, run.counts) == ("forget", "done", {"removed": 2})
    assert len(chunk_rows(store)) == 12
    assert {each.source for each in store.manifest()} == {"/a", "/b"}
    undo = store.preview_roll_back("f")
    assert (undo.restored, undo.removed, undo.runs) == (2, 0, ("f",))
    store.roll_back("f", "undo")
    assert (chunk_rows(store), document_rows(store)) == before
    with pytest.raises(TableError, match="rolled back already"):
        store.preview_roll_back("f")


def test_a_run_over_the_source_is_not_disturbed(store: Store, spec: StoreSpec) -> None:
    other = Store.open(spec)
    store.begin_run("busy", "/a")
    with pytest.raises(TableError, match="'busy' over '/a' is still open"):
        other.forget("f", "/a", [])
    other.forget("f", "/b", [each.doc_id for each in other.manifest("/b")])
    assert {each.source for each in other.manifest()} == {"/a"}


KILLED = """
import os, sys
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.lance._manifest import Manifest
Manifest.remove = lambda *_: os.kill(os.getpid(), 9)
store = Store.open(StoreSpec(sys.argv[1]))
store.forget("killed", "/a", [each.doc_id for each in store.manifest("/a")][:2])
"""


@pytest.mark.slow
def test_a_kill_between_the_two_commits_is_gone_on_with(store: Store, spec: StoreSpec) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, spec.uri], timeout=240, check=False)
    assert done.returncode == -9
    assert len(chunk_rows(store)) == 12
    assert len(store.manifest("/a")) == 3
    store.begin_run("next", "/b")
    store.end_run()
    stale = [each.doc_id for each in store.manifest("/a") if each.status == STALE]
    assert len(stale) == 2
    store.forget("again", "/a", stale)
    assert [each.source for each in store.manifest()] == ["/a", "/b", "/b", "/b"] or len(
        store.manifest()
    ) == 4
    assert len(chunk_rows(store)) == 12


def test_a_copy_has_the_vectors_of_its_model(store: Store) -> None:
    old = store.manifest("/a")
    store.begin_run("copy", "/c")
    news = {
        each.doc_id: Document(f"c{n}", "/c", each.path, content_hash=each.content_hash, chunks=each.chunks)
        for n, each in enumerate(old)
    }
    store.copy(news)
    store.end_run()
    assert len(store.manifest("/c")) == 3
    assert {each.chunks for each in store.manifest("/c")} == {3}

    def texts(source: str) -> dict[Any, Any]:
        return {
            (row["path"], row["text"]): row["vector"] for row in chunk_rows(store) if row["source"] == source
        }

    assert texts("/c") == texts("/a")
    assert store.reconcile() == []


# The flow and the command


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    with temporary_settings(updates={PREFECT_HOME: tmp_path / "home"}):
        yield tmp_path / "home"


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server", "store")
def test_a_flow_run_for_all_sources(spec: StoreSpec) -> None:
    table = LanceTable(uri=spec.uri, table=spec.table)
    looked = forgettable(["/a", "/b/1.pdf"], table)
    dry = forget(["/a", "/b/1.pdf"], table, dry_run=True)
    assert looked == dry
    assert (dry.chunks, dry.sources, dry.runs) == (12, {"/a": 3, "/b": 1}, ())
    assert len(Store.open(spec).manifest()) == 6
    done = forget(["/a", "/b/1.pdf"], table)
    assert (done.documents, len(done.runs)) == (dry.documents, 2)
    assert [(each.source, each.path) for each in Store.open(spec).manifest()] == [
        ("/b", "0.pdf"),
        ("/b", "2.pdf"),
    ]
    assert preview_roll_back(done.runs[0], table).restored == 3
    roll_back(done.runs[1], table)
    assert len(Store.open(spec).manifest("/b")) == 3
    with pytest.raises(ConfigurationError, match="no document"):
        forget("/a", table)


def command(
    *arguments: object, stdin: Any = subprocess.DEVNULL, **more: Any
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "prefect_ollama", *map(str, arguments)],
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        **more,
    )


@pytest.mark.slow
def test_without_a_terminal_it_refuses_and_says_how(
    store: Store,
    spec: StoreSpec,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from prefect_ollama.commands import app

    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "WARNING")  # leaves the logging of this process alone
    at = ("--uri", spec.uri, "--table", spec.table)
    # A re-embedding reads the files again, so these have to be there.
    again = Store.open(StoreSpec(spec.uri, "again"), identity=IDENTITY, create=True)
    for folder in (tmp_path / "a", tmp_path / "b"):
        fill(folder, *(f"{n}.pdf" for n in range(3)))
        again.begin_run(f"of {folder}", str(folder))
        again.write([embedded(f"{n}.pdf", sentences(f"{folder}{n}", 3), str(folder)) for n in range(3)])
        again.end_run()
    for arguments, told in (
        (("forget", "/a", *at), "3 documents with 9 chunks would be removed"),
        (("roll-back", "of /b", *at), "3 would go"),
        (
            ("re-embed", "--uri", spec.uri, "--table", "again"),
            "Read again: 6 documents of 2 sources, with 18 chunks",
        ),
    ):
        assert app([*arguments], result_action="return_value") == 2
        captured = capfd.readouterr()
        said = " ".join(captured.err.split())
        assert told in said
        assert "Nothing was changed" in said
        assert "--yes" in said
        assert captured.out == ""
    assert len(store.manifest()) == 6
    assert app(["forget", "/a", *at, "--dry-run", "--json"], result_action="return_value") == 0
    assert orjson.loads(capfd.readouterr().out)["sources"] == {"/a": 3}
    assert app(["forget", "/no", *at, "--yes"], result_action="return_value") == 2
    assert len(store.manifest()) == 6


@pytest.mark.slow  # two processes that import Prefect
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 6), (b"\n", 6), (b"y\n", 3)])
def test_at_a_terminal_it_asks(store: Store, spec: StoreSpec, answer: bytes, left: int) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect_ollama", "forget", "/a", "--uri", spec.uri, "--table", spec.table],
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.PIPE,
    )
    os.close(theirs)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(ours, 4096)
    os.write(ours, answer)
    out, _ = process.communicate(timeout=240)
    os.close(ours)
    assert process.returncode == (0 if left == 3 else 1)
    assert b"would be removed" in said
    assert (b"were removed" in out) == (left == 3)
    assert len(store.manifest()) == left


# From files to hits


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with nodes({}) as (running,):
        yield running


@pytest.mark.usefixtures("home")
@pytest.mark.slow
def test_nothing_is_doubled_and_nothing_stays(dask_workers: str, node: Node, tmp_path: Path) -> None:
    """Overlapping sources, a single file that is deleted, and a folder that is moved."""
    flow = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=dask_workers))
    a, b, table = tmp_path / "A", tmp_path / "B", LanceTable(uri=str(tmp_path / "db"))
    write_pdf(a / "one.pdf", ["The blue heron fishes at the weir. " + prose("heron")])
    write_pdf(a / "inner" / "two.pdf", ["The brass bell was cast in Ostrava. " + prose("bell")])

    assert flow(str(a), [node.url], table).notes == ()
    (note,) = flow(str(a / "inner"), [node.url], table).notes
    assert f"under the source '{a}' too" in note
    (note,) = flow(str(a / "one.pdf"), [node.url], table).notes
    assert f"under the source '{a}' too" in note
    for word, places in (("heron", {(LISTED, f"{a}/one.pdf")}), ("Ostrava", {(f"{a}/inner", "two.pdf")})):
        (hit,) = [hit for hit in search(word, None, table, mode="text") if word in hit.text]
        assert {(place.source, place.path) for place in hit.also_in} == places

    (a / "one.pdf").unlink()
    with pytest.raises(ConfigurationError, match=rf"2 of its documents.*`forget` '{a}/one.pdf'"):
        flow(str(a / "one.pdf"), [node.url], table)
    forget(str(a / "one.pdf"), table)
    assert search("heron", None, table, mode="text") == []

    a.rename(b)
    with pytest.raises(ConfigurationError, match=rf"1 of its documents.*`forget` '{a}'"):
        flow(str(a), [node.url], table)
    node.reset()
    report = flow(str(b), [node.url], table)
    assert report.outcomes() == {"moved": 1}
    assert f"`forget` '{a}'" in report.notes[0]
    assert node.stats()["served"] == {}
    (hit,) = search("Ostrava", None, table, mode="text")
    assert {(each.source, each.path) for each in (hit, *hit.also_in)} == {
        (str(a), "inner/two.pdf"),
        (f"{a}/inner", "two.pdf"),
        (str(b), "inner/two.pdf"),
    }
    forget([str(a), f"{a}/inner"], table)
    (hit,) = search("Ostrava", None, table, mode="text")
    assert (hit.source, hit.path, hit.copies) == (str(b), "inner/two.pdf", 0)
    assert flow(str(b), [node.url], table).outcomes() == {"unchanged": 1}
