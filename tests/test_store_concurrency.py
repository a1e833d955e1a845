"""Several processes at one table: no row is doubled, lost or incomplete, whatever comes first or is killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier, Timer

import pyarrow as pa
import pytest
from filelock import BaseFileLock, FileLock

from prefect_ollama.blocks.documents import STALE, STORED
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.lance import _chunks as chunks
from prefect_ollama.blocks.lance import _runs as runs
from prefect_ollama.blocks.lance._chunks import Chunks
from prefect_ollama.blocks.lance._write_lock import WriteLock
from prefect_ollama.blocks.lance.commits import merge
from tests.store_samples import IDENTITY, chunk_rows, document_rows, embedded, sentences
from tests.store_writer import corpus

WAIT = 240.0
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a writer process; whatever still runs at the end of the test is killed."""
    with ExitStack() as stack:

        def begin(
            uri: Path, run: str, content: str, rounds: int, documents: int, guarded: bool = True
        ) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.store_writer",
                    str(uri),
                    run,
                    content,
                    str(rounds),
                    str(documents),
                ],
                cwd=Path(__file__).parent.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "STORE_GUARDED": str(int(guarded))},
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            guard = Timer(WAIT, process.kill)
            guard.daemon = True
            guard.start()
            stack.callback(guard.cancel)
            return process

        yield begin


def say(process: subprocess.Popen[str], line: str = "go") -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str], wanted: str) -> None:
    """Wait until the process says this line; the guard kills one that never does."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == wanted:
            return
    raise AssertionError(f"the writer ended with {process.wait()} and never said {wanted!r}")


def assert_whole(store: Store) -> int:
    """Look at one version of the chunk table: every document is there in one content, from first to last.

    Returns:
        How many documents there are.
    """
    table = store._chunks.table.search().select(["doc_id", "content_hash", "position", "tokens"]).to_arrow()
    places: dict[str, list[int]] = {}
    contents: dict[str, set[str]] = {}
    for row in table.to_pylist():
        if row["doc_id"]:
            places.setdefault(row["doc_id"], []).append(row["position"])
            contents.setdefault(row["doc_id"], set()).add(row["content_hash"])
    for doc_id, found in places.items():
        assert sorted(found) == list(range(len(found))), (doc_id, found)
        assert len(contents[doc_id]) == 1, (doc_id, contents[doc_id])
    return len(places)


def undisturbed(tmp_path: Path, content: str, rounds: int, documents: int) -> Store:
    store = Store.open(StoreSpec(str(tmp_path / "undisturbed")), identity=IDENTITY, create=True)
    store.begin_run("r", "papers")
    store.write(corpus(content, rounds - 1, documents))
    return store


def run_together(writers: list[subprocess.Popen[str]], reader: Store | None) -> None:
    """Let the writers go, all at once, and look at the table until they have ended."""
    for each in writers:
        hear(each, "ready")
    for each in writers:
        say(each)
    looks = 0
    while reader is not None and any(each.poll() is None for each in writers):
        assert_whole(reader)
        looks += 1
    assert looks > 5 or reader is None
    assert [each.wait(WAIT) for each in writers] == [0, 0]


@pytest.mark.slow  # two interpreters start and import LanceDB
@pytest.mark.parametrize("guarded", [True, False])
def test_two_writers_of_the_same_documents_leave_each_row_once(
    tmp_path: Path, start: Start, guarded: bool
) -> None:
    store = Store.open(StoreSpec(str(tmp_path / "db")), identity=IDENTITY, create=True)
    run_together([start(tmp_path / "db", name, "same", 12, 24, guarded) for name in ("r1", "r2")], store)
    expected = undisturbed(tmp_path, "same", 12, 24)
    assert chunk_rows(store) == chunk_rows(expected)
    assert document_rows(store) == document_rows(expected)


@pytest.mark.slow  # two interpreters start and import LanceDB
@pytest.mark.parametrize("guarded", [True, False])
def test_two_writers_of_unlike_contents_leave_whole_documents(
    tmp_path: Path, start: Start, guarded: bool
) -> None:
    """The later writer wins a document as a whole. A difference between manifest and chunks is found."""
    store = Store.open(StoreSpec(str(tmp_path / "db")), identity=IDENTITY, create=True)
    writers = [start(tmp_path / "db", name, name, 8, 16, guarded) for name in ("left", "right!")]
    run_together(writers, store if guarded else None)
    wanted = {
        (each.document.path, each.document.content_hash): sorted(chunk.text for chunk in each.chunks)
        for content in ("left", "right!")
        for each in corpus(content, 0, 16)
    }
    documents = {each.path: each for each in store.manifest()}
    assert len(documents) == 16
    for path, document in documents.items():
        rows = [row for row in chunk_rows(store) if row["path"] == path]
        (content,) = {str(row["content_hash"]) for row in rows}
        assert sorted(str(row["text"]) for row in rows) == wanted[path, content]
        assert document.content_hash == content or (document.status == STALE and not guarded)


@pytest.mark.slow
def test_several_make_one_table(tmp_path: Path) -> None:
    for attempt in range(5):
        spec, together = StoreSpec(str(tmp_path / f"db{attempt}")), Barrier(4, timeout=WAIT)

        def make(number: int, spec: StoreSpec = spec, together: Barrier = together) -> None:
            together.wait()
            store = Store.open(spec, identity=IDENTITY, create=True)
            store.begin_run(f"r{number}", "papers")
            store.write(corpus("same", 0, 4))
            store.end_run()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(make, range(4)))
        store = Store.open(spec)
        assert len(store.runs()) == 4
        assert_whole(store)
        assert len(store.manifest()) == 4


def no_lock(guard: WriteLock) -> BaseFileLock | None:
    """As of an object store's table."""
    return None


def own_lock(guard: WriteLock) -> BaseFileLock | None:
    """As on a file system that keeps the locks of each host to itself: everyone has it at once."""
    lock = FileLock(Path(tempfile.mkdtemp(), "lock"))
    lock.acquire()
    return lock


@pytest.mark.slow  # eighteen rounds of conflicts
@pytest.mark.parametrize("take", [no_lock, own_lock])
def test_writers_that_do_not_know_of_each_other_leave_whole_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: Callable[[WriteLock], BaseFileLock | None]
) -> None:
    """As if they were on hosts of their own: no lock between them, every write a race."""
    monkeypatch.setattr(WriteLock, "_take", take)
    spec, together = StoreSpec(str(tmp_path / "db")), Barrier(3, timeout=WAIT)
    Store.open(spec, identity=IDENTITY, create=True)

    def texts(number: int, writer: int, round_: int) -> list[str]:
        kept = [f"document {number} says {place}" for place in range((writer + round_) % 3)]
        return kept + [f"{number} {writer} {round_} {place}" for place in range(1 + (number + round_) % 4)]

    def work(writer: int) -> None:
        store = Store.open(spec)
        store.begin_run(f"w{writer}", "papers")
        together.wait()
        for round_ in range(6):
            store.write(
                [
                    embedded(f"{number}.pdf", texts(number, writer, round_), content=f"{writer} {round_}")
                    for number in range(5)
                ]
            )
        store.end_run()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    store = Store.open(spec)
    assert assert_whole(store) == 5
    held = store._chunks.held()
    for document in store.manifest():
        ((content, count),) = held[document.doc_id].items()
        writer, round_ = map(int, content.split())
        assert count == len(texts(int(document.path[0]), writer, round_))
        assert document.status == STALE or (document.content_hash, document.chunks) == (content, count)


@pytest.fixture
def merges(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of rows that were merged into a chunk table, and not added."""
    merged: list[int] = []

    def noting(table: object, key: str, rows: pa.Table) -> object:
        merged.append(len(rows))
        return merge(table, key, rows)

    monkeypatch.setattr(chunks, "merge", noting)
    return merged


def test_only_what_is_not_there_is_added_and_only_with_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merges: list[int]
) -> None:
    store = Store.open(StoreSpec(str(tmp_path / "db")), identity=IDENTITY, create=True)
    store.begin_run("r", "papers")
    store.write([embedded("a.pdf", sentences("a", 3)), embedded("b.pdf", sentences("b", 2))])
    assert merges == []
    store.write([embedded("c.pdf", sentences("c", 4)), embedded("b.pdf", sentences("b", 1), content="c1")])
    assert merges == [4 + 1 + 1]  # one of b's is emptied
    monkeypatch.setattr(WriteLock, "_take", no_lock)
    store.write([embedded("d.pdf", sentences("d", 7))])
    assert merges[1:] == [7]
    assert_whole(store)
    assert len(chunk_rows(store)) == 3 + 1 + 4 + 7


def test_what_was_added_before_is_seen_whoever_did(tmp_path: Path, merges: list[int]) -> None:
    one, other = two_stores(tmp_path)
    for name in "abc":
        one.write([embedded(f"{name}.pdf", sentences(name, 2))])
    assert merges == []
    for done, name in enumerate("cadb"):
        if name == "d":
            other.write([embedded("d.pdf", sentences("d", 2))])
        one.write([embedded(f"{name}.pdf", sentences(name, 3), content="c1")])
        assert merges == [3] * (done + 1)
        one.write([embedded(f"{name} too.pdf", sentences(name, 1), content="c1")])
        assert merges == [3] * (done + 1)
    assert assert_whole(one) == 8
    assert {str(row["content_hash"]) for row in chunk_rows(one)} == {"c1"}
    assert len(chunk_rows(one)) == 4 * (3 + 1)


@pytest.mark.parametrize("content", ["same", "other"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.sampled(2)
def test_what_two_add_at_once_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, count: int
) -> None:
    """Each has a lock that the other does not see, finds the document missing, and adds it."""
    monkeypatch.setattr(WriteLock, "_take", own_lock)
    one, other = two_stores(tmp_path)
    mine = [embedded(f"{n}.pdf", sentences(f"{n}", 3), content="same") for n in range(count)]
    theirs = [embedded("0.pdf", sentences("0", 5 if content == "other" else 3), content=content)]
    while_one_looks(monkeypatch, one, lambda: other.write(theirs))
    one.write(mine)
    assert assert_whole(one) == count
    assert {str(row["content_hash"]) for row in chunk_rows(one)} == {"same"}
    assert len(chunk_rows(one)) == 3 * count
    assert [document.chunks for document in one.manifest()] == [3] * count
    one.end_run()
    other.end_run()
    assert {document.status for document in one.manifest()} == {STORED}


@pytest.mark.slow
def test_what_two_added_at_once_is_mended_by_the_next_run_if_both_were_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WriteLock, "_take", own_lock)
    one, other = two_stores(tmp_path)
    twice = embedded("a.pdf", sentences("a", 3))
    while_one_looks(monkeypatch, one, lambda: other.write([twice]))

    went_back = Chunks.at

    def killed(self: Chunks, version: int) -> Chunks:
        if self is one._chunks:
            raise KeyboardInterrupt
        return went_back(self, version)

    with monkeypatch.context() as patch:
        patch.setattr(Chunks, "at", killed)
        with pytest.raises(KeyboardInterrupt):
            one.write([twice])
    assert len(chunk_rows(one)) == 6
    with monkeypatch.context() as patch:  # neither has ended its run, and both are gone
        patch.setattr(runs, "alive", lambda *args: False)
        next_ = Store.open(one.spec)
        next_.begin_run("next", "papers")
    assert [document.status for document in next_.manifest()] == [STALE]
    next_.write([twice])
    next_.end_run()
    assert assert_whole(next_) == 1
    assert len(chunk_rows(next_)) == 3
    assert [document.status for document in next_.manifest()] == [STORED]


def two_stores(tmp_path: Path) -> tuple[Store, Store]:
    spec = StoreSpec(str(tmp_path / "db"))
    one = Store.open(spec, identity=IDENTITY, create=True)
    other = Store.open(spec)
    one.begin_run("one", "papers")
    other.begin_run("other", "papers")
    return one, other


def while_one_looks(monkeypatch: pytest.MonkeyPatch, one: Store, do: Callable[[], None]) -> None:
    """Do this once, when this store has looked up what it holds of documents and not committed yet."""
    looked_up, left = Chunks._ids_of, [do]

    def look_up(self: Chunks, doc_ids: Sequence[str]) -> pa.Array:
        found = looked_up(self, doc_ids)
        if self is one._chunks and left:
            left.pop()()
        return found

    monkeypatch.setattr(Chunks, "_ids_of", look_up)


@pytest.mark.parametrize("take", [no_lock, own_lock])
def test_rows_written_again_while_another_looks_are_not_taken_for_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: Callable[[WriteLock], BaseFileLock | None]
) -> None:
    """One writer looks up what is there, the other writes; it checks what came, the other writes again."""
    monkeypatch.setattr(WriteLock, "_take", take)
    one, other = two_stores(tmp_path)
    others = [embedded("a.pdf", sentences("other", 3), content=f"other {n}") for n in range(2)]
    mine = embedded("a.pdf", sentences("one", 2), content="one")
    looked_up, went_back = Chunks._ids_of, Chunks.at

    def look_up(self: Chunks, doc_ids: Sequence[str]) -> pa.Array:
        found = looked_up(self, doc_ids)
        if self is one._chunks and others:
            other.write([others.pop(0)])
        return found

    def go_back(self: Chunks, version: int) -> Chunks:
        before = went_back(self, version)
        if self is one._chunks and others:
            other.write([others.pop(0)])
        return before

    monkeypatch.setattr(Chunks, "_ids_of", look_up)
    monkeypatch.setattr(Chunks, "at", go_back)
    one.write([mine])
    assert others == []
    assert sorted(str(row["text"]) for row in chunk_rows(one)) == ["one says thing 0", "one says thing 1"]
    assert one.manifest()[0].content_hash == "one"


@pytest.mark.slow  # five interpreters start and import LanceDB
def test_a_killed_writer_loses_and_doubles_nothing(tmp_path: Path, start: Start) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for kill in range(4):
        writer = start(tmp_path / "db", f"killed {kill}", "mixed", 50, 24)
        hear(writer, "ready")
        say(writer)
        if kill:
            hear(writer, f"round {rng.randrange(2)}")
        timer = Timer(rng.uniform(0, 0.3), writer.kill)
        timer.start()
        timer.join()
        writer.wait(WAIT)
        assert_whole(Store.open(StoreSpec(str(tmp_path / "db"))))
    again = start(tmp_path / "db", "again", "mixed", 2, 24)
    hear(again, "ready")
    say(again)
    hear(again, "ended")
    store = Store.open(StoreSpec(str(tmp_path / "db")))
    expected = undisturbed(tmp_path, "mixed", 2, 24)
    assert chunk_rows(store) == chunk_rows(expected)
    assert document_rows(store) == document_rows(expected)
    *killed, last = [run.status for run in store.runs()]
    assert set(killed) == {"interrupted"}
    assert last == "done"
