"""The ingest flow over simulated nodes: real PDFs, real Dask processes, a real table, a real Prefect server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import dask.config
import distributed
import lancedb
import orjson
import pymupdf
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun
from prefect.client.schemas.sorting import TaskRunSort
from prefect.filesystems import LocalFileSystem
from prefect.settings import (
    PREFECT_DEFAULT_RESULT_STORAGE_BLOCK,
    PREFECT_HOME,
    PREFECT_RESULTS_DEFAULT_SERIALIZER,
    PREFECT_RESULTS_PERSIST_BY_DEFAULT,
    temporary_settings,
)
from pydantic import SecretStr

from prefect_ollama.blocks import LanceTable, OllamaCluster
from prefect_ollama.blocks.errors import ClusterError, ConfigurationError, TableError, TaskRunLost
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.nodes.canaries import CANARIES, SCRIPT_TEXTS
from prefect_ollama.flows import Advanced, Chunking, IngestReport, Password, Reading, ingest_pdfs
from prefect_ollama.flows.runner._dask_servers import RunScheduler
from prefect_ollama.flows.runner._local_cluster import START_TRIES, WorkerCluster
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from prefect_ollama.tasks.chunking import CHUNKER_VERSION, ChunkOptions, estimate_tokens
from prefect_ollama.tasks.parsing import format_of
from prefect_ollama.tasks.reporting.markdown import report_markdown
from prefect_ollama.tasks.store import Writer
from tests.certificates import reaching
from tests.flow_samples import (
    MODEL,
    PREFIX,
    assert_right,
    chunks,
    content,
    manifest,
    prose,
    requests,
    reset,
    times_embedded,
    to_embed,
    write_folder,
    write_pdf,
)
from tests.killing import killed_as_they_start
from tests.nodes import Node, nodes, poison, text_hash
from tests.waiting import all_nodes_awaited, until

PARSER_VERSION = format_of("a.pdf").version

pytestmark = pytest.mark.usefixtures("prefect_server")

UNLIKE = ({"texts_per_second": 400}, {"texts_per_second": 200}, {"texts_per_second": 100, "slots": 2})


@pytest.fixture(scope="module")
def running() -> Iterator[list[Node]]:
    with nodes(*UNLIKE) as running:
        yield running


@pytest.fixture
def trio(running: list[Node]) -> list[Node]:
    """Three unlike nodes that have counted nothing yet."""
    for node in running:
        if not node.alive:
            node.restart()
        node.heal()
        node.reset()
    return running


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[Path]:
    """A Prefect home of the test's own: its cache of vectors is empty."""
    home = tmp_path / "home"
    with temporary_settings(updates={PREFECT_HOME: home}), all_nodes_awaited():
        yield home


class Ingest(Protocol):
    def __call__(self, source: Any, at: Any, **options: Any) -> IngestReport: ...


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "db"


@pytest.fixture
def ingest(dask_workers: str, place: Path) -> Ingest:
    """Run the flow on the session's workers, into the test's table."""
    flow = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=dask_workers))

    def run(source: Any, at: Any, **options: Any) -> IngestReport:
        cluster = [node.url for node in at] if isinstance(at, list) else at
        return flow(source, cluster, options.pop("table", LanceTable(uri=str(place))), **options)

    return run


def outcomes(report: IngestReport) -> dict[str, str]:
    return {file.path: file.outcome for file in report.files}


def test_first_all_is_embedded_by_all_nodes_then_nothing_is_asked(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path
) -> None:
    folder = write_folder(tmp_path / "papers", [f"doc{n}" for n in range(12)], pages=4, words=300)
    for node in trio:
        node.control(speed=0.2)  # so that none is done before another one has had a core
    report = ingest(str(folder), trio)
    rows = chunks(place)
    assert_right(rows)
    assert report.ok
    assert outcomes(report) == {f"doc{n}.pdf": "stored" for n in range(12)}
    assert (report.pages, report.chunks) == (48, len(rows))
    assert report.chunks == sum(file.chunks for file in report.files)
    assert (report.embedded, report.reused) == (len(rows), 0)
    assert sum(node.texts for node in report.nodes) == report.embedded
    assert sum(node.share for node in report.nodes) == pytest.approx(1)
    assert all(node.texts for node in report.nodes), "every node had work"
    assert report.node_seconds == pytest.approx(sum(file.node_seconds for file in report.files))
    assert min(times_embedded(trio, (to_embed(row) for row in rows))) >= 1  # the last may be hedged
    kept = manifest(place)
    assert {path: (row.chunks, row.node_seconds) for path, row in kept.items()} == {
        file.path: (file.chunks, file.node_seconds) for file in report.files
    }
    assert min(row.node_seconds for row in kept.values()) > 0
    (run,) = Store.open(StoreSpec(str(place), "documents")).runs()
    assert run.counts["node_seconds"] == pytest.approx(report.node_seconds, abs=0.001)
    assert {row.run_id for row in manifest(place).values()} == {report.run_id}

    reset(trio)
    again = ingest(str(folder), trio)
    assert requests(trio) == 0
    assert set(outcomes(again).values()) == {"unchanged"}
    assert again.ok
    assert (again.embedded, again.reused, again.nodes) == (0, 0, ())
    assert chunks(place) == rows


@pytest.mark.slow
def test_of_a_changed_page_only_the_changed_chunks_are_embedded(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path
) -> None:
    folder = tmp_path / "papers"
    pages = [prose(f"page {n}", 300) for n in range(5)]
    write_pdf(folder / "changes.pdf", pages)
    write_pdf(folder / "stays.pdf", [prose("stays")])
    ingest(str(folder), trio, advanced=Advanced(use_cache=False))
    before = {to_embed(row): row for row in chunks(place)}

    reset(trio)
    pages[2] = prose("another page 2", 280)
    write_pdf(folder / "changes.pdf", pages)
    report = ingest(str(folder), trio, advanced=Advanced(use_cache=False))
    after = chunks(place)
    assert_right(after)
    new = [to_embed(row) for row in after if to_embed(row) not in before]
    assert new
    assert outcomes(report) == {"changes.pdf": "stored", "stays.pdf": "unchanged"}
    assert report.embedded == len(new) < report.chunks
    assert (report.from_table, report.from_cache) == (report.reused, 0)
    assert report.version > 0
    assert times_embedded(trio, before) == [0] * len(before)
    assert min(times_embedded(trio, new)) >= 1
    assert all(row["vector"] == before[to_embed(row)]["vector"] for row in after if to_embed(row) in before)
    assert not any("Page 2 " in row["text"].replace("Another page 2", "") for row in after)


@pytest.mark.slow
def test_unchanged_files_are_read_by_a_better_parser_if_asked_and_only_what_is_new_is_embedded(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path
) -> None:
    folder = write_folder(tmp_path / "papers", ["kept", "cut"], pages=3, words=300)
    encrypted(folder / "locked.pdf")
    no_cache = Advanced(use_cache=False)
    password = Reading(passwords=[Password(password=SecretStr("x"))])
    report = ingest(str(folder), trio, advanced=no_cache, reading=password)
    assert (report.ok, report.outdated, report.notes) == (True, 0, ())
    before = content(place)
    present = {(row.parser_version, row.chunker_version) for row in manifest(place).values()}
    assert present == {(PARSER_VERSION, CHUNKER_VERSION)}

    # As if an earlier version had read all, and one document otherwise.
    database = lancedb.connect(str(place))
    database.open_table("documents__documents").update(values={"parser_version": PARSER_VERSION - 1})
    lost = next(row["id"] for row in chunks(place) if row["path"] == "cut.pdf")
    database.open_table("documents").update(where=f"id = '{lost}'", values={"embedded_text": "another text"})
    reset(trio)
    report = ingest(str(folder), trio, advanced=no_cache)
    assert requests(trio) == 0
    assert (set(outcomes(report).values()), report.outdated) == ({"unchanged"}, 3)
    assert "3 of the documents were read by an earlier version" in report_markdown(report)
    assert "--reread" in report_markdown(report)
    planned = ingest(str(folder), trio, dry_run=True, reread=True)
    assert set(outcomes(planned).values()) == {"reread"}

    report = ingest(str(folder), trio, advanced=no_cache, reread=True)
    assert outcomes(report) == {"kept.pdf": "stored", "cut.pdf": "stored", "locked.pdf": "failed"}
    assert report.embedded == 1
    assert report.from_table == report.chunks - 1
    assert content(place) == before
    assert {path: row.parser_version for path, row in manifest(place).items()} == {
        "kept.pdf": PARSER_VERSION,
        "cut.pdf": PARSER_VERSION,
        "locked.pdf": PARSER_VERSION - 1,
    }
    # What could not be read again is named, and is what it was.
    (failed,) = report.failed
    assert "password" in failed.remedy
    assert "what was read of it before stays in the table" in failed.reason
    assert ingest(str(folder), trio, advanced=no_cache, reread=True, reading=password).ok
    assert ingest(str(folder), trio, advanced=no_cache, reread=True).outcomes() == {"unchanged": 3}
    assert content(place) == before


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [0, 20])
def test_a_table_keeps_the_context_that_its_chunks_were_embedded_with(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path, tokens: int
) -> None:
    """Tables of earlier versions have none; nothing of them is embedded again unasked, nor when files are reread."""
    folder = write_folder(tmp_path / "papers", ["kept"])
    ingest(str(folder), trio, chunking=Chunking(context_tokens=tokens))
    before = content(place)
    assert any(row["embedded_text"] for row in chunks(place)) == bool(tokens)

    lancedb.connect(str(place)).open_table("documents__documents").update(values={"chunker_version": 2})
    reset(trio)
    report = ingest(str(folder), trio, advanced=Advanced(use_cache=False), reread=True)
    assert (outcomes(report), report.embedded) == ({"kept.pdf": "stored"}, 0)
    assert content(place) == before

    write_pdf(folder / "harbour.pdf", [prose("tide")])
    assert ingest(str(folder), trio).ok
    assert any(row["embedded_text"] for row in chunks(place) if row["path"] == "harbour.pdf") == bool(tokens)
    assert len({row["chunker"] for row in chunks(place)}) == 1


def test_a_renamed_file_moves_a_vanished_one_goes_and_no_node_is_asked(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path
) -> None:
    folder = write_folder(tmp_path / "papers", ["old name", "vanishes", "touched", "stays"])
    ingest(str(folder), trio)
    before = {row["path"]: [] for row in chunks(place)}
    for row in chunks(place):
        before[row["path"]].append((row["position"], row["text"], row["vector"]))

    reset(trio)
    (folder / "sub").mkdir()
    (folder / "old name.pdf").rename(folder / "sub" / "it's new.pdf")
    (folder / "vanishes.pdf").unlink()
    os.utime(folder / "touched.pdf", (1, 1))
    planned = ingest(str(folder), trio, dry_run=True)
    assert outcomes(planned) == {
        "sub/it's new.pdf": "renamed",
        "vanishes.pdf": "removed",
        "touched.pdf": "unchanged",
        "stays.pdf": "unchanged",
    }
    assert {row["path"] for row in chunks(place)} == before.keys()
    report = ingest(str(folder), trio)
    assert outcomes(report) == outcomes(planned)
    assert report.ok
    assert requests(trio) == 0
    after: dict[str, list[Any]] = {}
    for row in chunks(place):
        after.setdefault(row["path"], []).append((row["position"], row["text"], row["vector"]))
    before["sub/it's new.pdf"] = before.pop("old name.pdf")
    del before["vanishes.pdf"]
    assert after == before
    assert manifest(place).keys() == after.keys()
    assert ingest(str(folder), trio).outcomes() == {"unchanged": 3}


@pytest.mark.slow
def test_a_text_is_embedded_once_for_all_files_tables_and_runs(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path
) -> None:
    folder = tmp_path / "papers"
    licence, notice = prose("the licence", 300), prose("the notice", 300)
    # Too large for one bundle, so that several that hold the same texts are under way at once.
    for n in range(30):
        write_pdf(folder / f"{n}.pdf", [licence, prose(f"number {n}"), notice], no_new_id=True)
    report = ingest(str(folder), trio)
    rows = chunks(place)
    texts = {to_embed(row) for row in rows}
    assert len(texts) < len(rows)
    assert report.embedded == len(texts)
    assert report.reused == len(rows) - len(texts)
    assert report.node_seconds == pytest.approx(sum(file.node_seconds for file in report.files))
    assert min(times_embedded(trio, texts)) >= 1

    reset(trio)
    shutil.rmtree(place)
    again = ingest(str(folder), trio)
    assert (again.embedded, again.reused) == (0, len(rows))
    assert len(texts) <= again.from_cache <= again.reused
    assert set(times_embedded(trio, texts)) == {0}
    assert content(place) == [
        (row["id"], row["path"], row["position"], row["text"], row["page_from"], tuple(row["vector"]))
        for row in rows
    ]

    shutil.rmtree(place)
    again = ingest(str(folder), trio, advanced=Advanced(use_cache=False))
    assert min(times_embedded(trio, texts)) >= 1
    assert again.embedded + again.reused == len(rows)


def test_prefect_keeps_no_result_of_what_is_stored(
    ingest: Ingest, trio: list[Node], tmp_path: Path, home: Path
) -> None:
    with temporary_settings(updates={PREFECT_RESULTS_PERSIST_BY_DEFAULT: True}):
        ingest(str(write_folder(tmp_path / "papers", ["a", "b"])), trio)
    assert [path for path in home.rglob("prefect-ollama-*") if path.is_file()] == []
    kept = [path for path in home.rglob("storage/*") if path.is_file()]
    assert len(kept) == 1, "the report of the flow, and no text of a document"


def encrypted(path: Path) -> None:
    write_pdf(path, [prose("secret")], encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="x", owner_pw="y")


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "junk.pdf": (lambda path: path.write_bytes(b"this is no PDF at all" * 50), "not-a-pdf"),
    "empty.pdf": (lambda path: path.touch(), "empty"),
    "encrypted.pdf": (encrypted, "encrypted"),
    "directory.pdf": (lambda path: path.mkdir(), "not-a-file"),
    "fifo.pdf": (lambda path: os.mkfifo(path), "not-a-file"),
    "away.pdf": (lambda path: path.symlink_to("/etc/hostname"), "outside"),
    "dangling.pdf": (lambda path: path.symlink_to(path.parent / "nowhere"), "unreadable"),
    "blank.pdf": (lambda path: write_pdf(path, ["", ""]), "no-text"),
}


def test_bad_files_are_named_and_good_ones_beside_them_stored(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path
) -> None:
    folder = write_folder(tmp_path / "papers", ["good", "it's; DROP TABLE", "[bold]", "new\nline"], pages=1)
    odd = os.fsdecode(b"sm\xf8rrebr\xf8d.pdf")
    write_pdf(folder / "plain.pdf", [prose("odd")]).rename(folder / odd)
    for name, (make, _) in BAD.items():
        make(folder / name)
    report = ingest(str(folder), trio)
    good = {"good.pdf", "it's; DROP TABLE.pdf", "[bold].pdf", "new\nline.pdf", r"sm\xf8rrebr\xf8d.pdf"}
    assert outcomes(report) == {name: "stored" for name in good} | {name: "failed" for name in BAD}
    assert not report.ok
    assert {file.path for file in report.failed} == BAD.keys()
    assert all(file.reason and file.remedy for file in report.failed)
    rows = manifest(place)
    assert {name: rows[name].kind for name in BAD} == {name: kind for name, (_, kind) in BAD.items()}
    assert {row["path"] for row in chunks(place)} == good
    assert_right(chunks(place))

    # They are not tried again, and still named.
    reset(trio)
    again = ingest(str(folder), trio)
    assert requests(trio) == 0
    assert not again.ok
    assert {file.path for file in again.failed} == BAD.keys()
    assert {outcome for name, outcome in outcomes(again).items() if name in good} == {"unchanged"}

    # A repaired file is, and so is every file if the user asks for it.
    (folder / "junk.pdf").unlink()
    write_pdf(folder / "junk.pdf", [prose("repaired")])
    (folder / "fifo.pdf").unlink()
    retried = ingest(str(folder), trio, retry_failed=True)
    assert outcomes(retried)["junk.pdf"] == "stored"
    assert outcomes(retried)["encrypted.pdf"] == "failed"
    assert outcomes(retried)["fifo.pdf"] == "removed"
    assert {row["path"] for row in chunks(place)} == good | {"junk.pdf"}


@pytest.mark.slow
def test_the_report_shows_what_was_dropped(ingest: Ingest, trio: list[Node], tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    write_pdf(folder / "divided.pdf", [f"This trans-\nformation is long. {prose('divided')}"])
    report = ingest(str(folder), trio)
    assert report.dropped == {"hyphen": 1}
    assert "- **characters dropped**: hyphens at line ends 1" in report_markdown(report)
    assert "OCR took" not in report_markdown(report)


@pytest.mark.slow
def test_a_document_that_becomes_unreadable_leaves_the_table(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path
) -> None:
    folder = write_folder(tmp_path / "papers", ["breaks", "leaves", "stays"], pages=1)
    ingest(str(folder), trio)
    (folder / "breaks.pdf").write_bytes(b"no longer a PDF")
    (folder / "leaves.pdf").unlink()
    (folder / "leaves.pdf").symlink_to("/etc/hostname")
    report = ingest(str(folder), trio)
    assert outcomes(report) == {"breaks.pdf": "failed", "leaves.pdf": "failed", "stays.pdf": "unchanged"}
    assert {row["path"] for row in chunks(place)} == {"stays.pdf"}


def test_a_dry_run_touches_nothing(trio: list[Node], tmp_path: Path, place: Path) -> None:
    folder = write_folder(tmp_path / "papers", ["a", "b"], pages=1)
    (folder / "bad.pdf").touch()
    table = LanceTable(uri=str(place))
    at = [node.url for node in trio]
    for source, found in (
        (str(folder), {"a.pdf", "b.pdf", "bad.pdf"}),
        (str(folder / "[ab].pdf"), {"a.pdf", "b.pdf"}),
        ([folder / "a.pdf"], {str(folder / "a.pdf")}),
        (folder / "a.pdf", {str(folder / "a.pdf")}),
    ):
        report = ingest_pdfs(source, at, table, dry_run=True)
        assert report.dry_run
        assert report.ok
        assert outcomes(report) == dict.fromkeys(found, "new")
    assert not place.exists()
    assert requests(trio) == 0


@pytest.mark.slow
def test_a_folder_that_is_gone_or_empty_is_refused_unless_allowed(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path
) -> None:
    folder = write_folder(tmp_path / "papers", ["a", "b"], pages=1)
    ingest(str(folder), trio)
    before = content(place)
    shutil.rmtree(folder)
    with pytest.raises(ConfigurationError, match="not there"):
        ingest(str(folder), trio)
    folder.mkdir()
    with pytest.raises(ConfigurationError, match="not mounted"):
        ingest(str(folder), trio)
    with pytest.raises(ConfigurationError, match="not mounted"):
        ingest(str(folder), trio, dry_run=True)
    assert content(place) == before
    kept = ingest(str(folder), trio, advanced=Advanced(remove_missing=False))
    assert (kept.outcomes(), kept.ok) == ({"kept": 2}, True)
    assert content(place) == before
    folder.rmdir()
    report = ingest(str(folder), trio, advanced=Advanced(allow_empty=True))
    assert (report.outcomes(), report.ok) == ({"removed": 2}, True)
    assert chunks(place) == []
    assert manifest(place) == {}


@pytest.mark.slow
def test_a_poison_chunk_costs_itself_and_one_too_long_is_split(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path
) -> None:
    folder = write_folder(tmp_path / "papers", ["good"])
    write_pdf(
        folder / "poisoned.pdf", ["Zyzzyva. " * 150, prose("poisoned start", 300), prose("the end", 300)]
    )
    for node in trio:
        node.control(faults=[poison("Zyzzyva")], context_length=150)
    report = ingest(str(folder), trio)
    rows = chunks(place)
    assert_right(rows)
    assert outcomes(report) == {"good.pdf": "stored", "poisoned.pdf": "partial"}
    assert not report.ok
    (failed,) = report.failed
    assert "could not be embedded" in failed.reason
    assert "Zyzzyva" in failed.reason
    assert failed.remedy
    poisoned = " ".join(row["text"] for row in rows if row["path"] == "poisoned.pdf")
    assert "Poisoned start" in poisoned
    assert "The end" in poisoned
    assert "Zyzzyva" not in poisoned
    # Nothing was cut: of what was split every sentence is there, whole and in its place.
    good = [row for row in rows if row["path"] == "good.pdf"]
    stored = " ".join(" ".join(row["text"].split()) for row in good)
    sentences = f"{prose('good page 1')} {prose('good page 2')}".split(". ")
    places = [stored.find(sentence) for sentence in sentences]
    assert min(places) >= 0
    assert places == sorted(places)
    assert max(len(PREFIX + row["text"]) for row in rows) <= 4 * 150

    for node in trio:
        node.heal()
    longer = ingest(str(folder), trio, table=LanceTable(uri=str(place), table="longer"))
    assert longer.ok
    assert max(len(row["text"]) for row in chunks(place, "longer")) > 4 * 150
    assert longer.chunks < len(rows)
    assert ingest(str(folder), trio).outcomes() == {"unchanged": 1, "failed before": 1}
    assert ingest(str(folder), trio, retry_failed=True).ok
    assert any("Zyzzyva" in row["text"] for row in chunks(place))


def test_a_node_killed_in_mid_run_costs_nothing(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path
) -> None:
    folder = write_folder(tmp_path / "papers", [f"doc{n}" for n in range(8)], pages=4, words=300)
    trio[0].control(faults=[{"name": "down", "after_requests": 3}])
    report = ingest(str(folder), trio)
    assert report.ok
    assert_right(chunks(place))
    assert report.embedded == report.chunks == len(chunks(place))
    lost = next(node for node in report.nodes if node.name in trio[0].url)
    assert lost.errors
    assert lost.note


@pytest.mark.slow
def test_when_all_nodes_are_gone_what_was_embedded_is_kept(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path
) -> None:
    cluster = OllamaCluster(nodes=[node.url for node in trio], give_up_after=1)
    folder = write_folder(tmp_path / "papers", ["first"], pages=1)
    assert ingest(str(folder), cluster).ok  # for a new table nodes are asked more than to prove themselves
    reset(trio)
    write_folder(folder, [f"doc{n}" for n in range(6)], pages=4, words=300)
    for node in trio:
        node.control(faults=[{"name": "down", "after_requests": 3}], texts_per_second=50)
    with pytest.raises(ClusterError, match=r"\d of 6 files are left to do") as caught:
        ingest(str(folder), cluster)
    assert caught.value.remedy
    assert "are stored or in the cache" in str(caught.value)
    embedded = sum(node.stats()["texts_answered"] for node in trio)
    assert embedded > 12  # more than the texts with which they prove themselves

    before = {text for text, _ in served(trio)} - CANARY_HASHES
    for node in trio:
        node.heal()
    reset(trio)
    report = ingest(str(folder), cluster)
    assert report.ok
    assert_right(chunks(place))
    assert outcomes(report) == {f"doc{n}.pdf": "stored" for n in range(6)} | {"first.pdf": "unchanged"}
    assert not before & {text for text, _ in served(trio)}


@pytest.mark.slow
def test_without_a_cache_the_error_does_not_promise_kept_vectors(
    ingest: Ingest, trio: list[Node], tmp_path: Path
) -> None:
    cluster = OllamaCluster(nodes=[node.url for node in trio], give_up_after=1)
    folder = write_folder(tmp_path / "papers", ["first"], pages=1)
    no_cache = Advanced(use_cache=False)
    assert ingest(str(folder), cluster, advanced=no_cache).ok
    write_folder(folder, ["second"], pages=4, words=300)
    for node in trio:
        node.control(faults=[{"name": "missing_model", "after_requests": 3}], texts_per_second=50)
    with pytest.raises(
        ClusterError, match="Without the cache all texts of the files left are embedded again"
    ):
        ingest(str(folder), cluster, advanced=no_cache)


def served(some: list[Node]) -> list[tuple[str, int]]:
    """Hashes of the texts that nodes answered, with how often."""
    return [pair for node in some for pair in node.stats()["served"].items()]


CANARY_HASHES = {
    text_hash(prefix + canary) for canary in (*CANARIES, *SCRIPT_TEXTS) for prefix in ("", PREFIX)
}


@pytest.mark.slow
def test_another_model_prompt_or_cut_is_refused_with_the_ways_on(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_folder(tmp_path / "papers", ["a"], pages=1)
    ingest(str(folder), trio)
    before = content(place)
    at = [node.url for node in trio]
    for node in trio:
        node.control(models=[MODEL, "bge-m3"])
    # Also where nothing changed: who asks for another model must not be told that all is up to date.
    for options, what in (
        ({"model": "bge-m3"}, "bge-m3"),
        ({"at": OllamaCluster(nodes=at, document_prefix="passage: ")}, "passage: "),
        ({"at": OllamaCluster(nodes=at, dimensions=256)}, "256"),
        ({"chunking": Chunking(target_tokens=100, max_tokens=128, overlap_tokens=10)}, "target=100"),
    ):
        for node in trio:
            node.control(weights="b" if "model" in options else "a")
        with pytest.raises(TableError, match="not comparable") as caught:
            ingest(str(folder), **({"at": trio} | options))
        assert what in caught.value.cause
        assert "another table" in caught.value.remedy
        assert "embed all documents of this one again" in caught.value.remedy
        caplog.clear()
        assert ingest(str(folder), **({"at": trio} | options), dry_run=True).dry_run
        assert "differ from those of the table" in caplog.text
    assert content(place) == before
    caplog.clear()
    # The model under another name, and a table's own model where none is named, are no other.
    for node in trio:
        node.control(models=[f"{MODEL}:latest"])
    assert ingest(str(folder), trio, model=f"{MODEL}:latest").outcomes() == {"unchanged": 1}
    assert ingest(str(folder), OllamaCluster(nodes=at), dry_run=True).outcomes() == {"unchanged": 1}
    assert ingest(str(folder), OllamaCluster(nodes=at)).outcomes() == {"unchanged": 1}
    assert "differ from those of the table" not in caplog.text


@pytest.mark.slow
def test_tokens_are_counted_as_the_nodes_do_and_always_alike_for_a_table(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path
) -> None:
    def of_nodes(characters: float) -> None:
        for node in trio:
            node.control(characters_a_token=characters)

    def counter(table: str) -> str:
        return Store.open(StoreSpec(str(place), table)).identity.chunker.rpartition("tokens=")[2]

    folder = tmp_path / "papers"
    pages = [prose(f"page {number}", 300) for number in range(4)]
    write_pdf(folder / "a.pdf", pages)
    of_nodes(2)
    assert ingest(str(folder), trio).ok
    before = chunks(place)
    longest = max(len(row["text"]) for row in before) / 2
    assert ChunkOptions().target_tokens / 2 < longest <= ChunkOptions().max_tokens
    assert all(len(row["text"]) / 2 <= row["tokens"] for row in before)
    of_nodes(4)
    assert ingest(str(folder), trio, table=LanceTable(uri=str(place), table="other")).ok
    assert max(len(row["text"]) for row in chunks(place, "other")) > 1.5 * 2 * longest

    # To a table that is there, no node's word on tokens matters any more, not even none.
    of_nodes(0)
    reset(trio)
    write_pdf(folder / "a.pdf", [*pages, prose("one more", 300)])
    report = ingest(str(folder), trio)
    assert report.ok
    assert {row["text"] for row in before[:-2]} <= {row["text"] for row in chunks(place)}
    assert report.embedded < report.chunks / 2
    known = counter("documents")
    assert known not in (counter("other"), estimate_tokens.name)

    write_folder(tmp_path / "more", ["b"])
    beside = LanceTable(uri=str(place), table="beside")
    assert ingest(str(tmp_path / "more"), trio, table=beside).ok
    assert counter("beside") == estimate_tokens.name


@pytest.mark.slow
def test_a_list_of_files_and_a_pattern_name_their_sources(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path
) -> None:
    folder = write_folder(tmp_path / "papers", ["a1", "a2", "b"], pages=1)
    assert ingest(str(folder / "a*.pdf"), trio).outcomes() == {"stored": 2}
    assert set(manifest(place)) == {"a1.pdf", "a2.pdf"}
    assert ingest(str(folder), trio).outcomes() == {"stored": 1, "unchanged": 2}
    listed = ingest([str(folder / "b.pdf"), folder / "gone.pdf"], trio)
    assert outcomes(listed) == {str(folder / "b.pdf"): "stored", str(folder / "gone.pdf"): "failed"}
    assert (listed.embedded, listed.ok) == (0, False)


def states(report: IngestReport, count: int) -> list[tuple[str, str]]:
    """Name and state of the task runs of a run, once the server knows so many that have ended."""
    flow_run = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(report.run_id)]))
    runs: list[TaskRun] = []

    def ended() -> list[tuple[str, str]] | None:
        with get_client(sync_client=True) as client:
            runs[:] = client.read_task_runs(
                flow_run_filter=flow_run, sort=TaskRunSort.EXPECTED_START_TIME_ASC, limit=200
            )
        found = [(run.name, run.state_name or "") for run in runs if run.state and run.state.is_final()]
        return found if len(found) >= count else None

    return until(ended, why=lambda: f"fewer than {count} task runs have ended: {runs}")


@pytest.mark.slow
def test_what_was_embedded_and_not_stored_is_cached(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "papers", ["a", "b"])

    def fail(self: object) -> None:
        raise OSError("No space left on device")

    # Results of bundles are kept whatever the user chose for the results of tasks.
    as_json = temporary_settings(updates={PREFECT_RESULTS_DEFAULT_SERIALIZER: "json"})
    with monkeypatch.context() as patch, as_json:
        patch.setattr("prefect_ollama.tasks.store.Writer.flush", fail)
        with pytest.raises(OSError, match="No space"):
            ingest(str(folder), trio)
    reset(trio)
    shutil.rmtree(tmp_path / "home" / "ollama-vectors")  # so that it is Prefect's cache that knows
    report = ingest(str(folder), trio)
    assert (report.embedded, report.reused, report.node_seconds) == (0, report.chunks, 0.0)
    assert report.ok
    assert_right(chunks(place))
    assert set(times_embedded(trio, (to_embed(row) for row in chunks(place)))) == {0}
    assert any(name.startswith("embed") and state == "Cached" for name, state in states(report, 6)), (
        "the UI shows it"
    )


@pytest.mark.slow
def test_hosts_that_share_a_storage_take_each_others_results(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each host has a Prefect home, and so a cache of vectors, of its own."""
    folder = write_folder(tmp_path / "papers", ["a", "b"])
    shared = tmp_path / "shared"
    LocalFileSystem(basepath=str(shared)).save("shared-results", overwrite=True)

    def fail(self: object) -> None:
        raise OSError("No space left on device")

    at_shared = {PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: "local-file-system/shared-results"}
    with monkeypatch.context() as patch, temporary_settings(updates=at_shared):
        patch.setattr("prefect_ollama.tasks.store.Writer.flush", fail)
        with pytest.raises(OSError, match="No space"):
            ingest(str(folder), trio)
    (kept,) = shared.glob("prefect-ollama-*")
    old, mine = shared / "prefect-ollama-old", shared / "of somebody else"
    for path in (old, mine):
        path.touch()
        os.utime(path, (1, 1))
    reset(trio)
    with temporary_settings(updates=at_shared | {PREFECT_HOME: tmp_path / "another host"}):
        report = ingest(str(folder), trio)
    assert (report.embedded, report.reused) == (0, report.chunks)
    assert set(times_embedded(trio, (to_embed(row) for row in chunks(place)))) == {0}
    assert any(name.startswith("embed") and state == "Cached" for name, state in states(report, 6))
    assert list(shared.glob("prefect-ollama-*")) == [], f"{kept} and old folders are not used any more"
    assert mine.exists()


@pytest.mark.slow
def test_a_kept_result_that_cannot_be_read_is_made_again(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run that stored the same bundle may delete its result after this run has found it there."""
    folder = write_folder(tmp_path / "papers", ["a", "b"])
    shared = tmp_path / "shared"
    LocalFileSystem(basepath=str(shared)).save("unreadable-results", overwrite=True)

    def fail(self: object) -> None:
        raise OSError("No space left on device")

    with temporary_settings(
        updates={PREFECT_DEFAULT_RESULT_STORAGE_BLOCK: "local-file-system/unreadable-results"}
    ):
        with monkeypatch.context() as patch:
            patch.setattr("prefect_ollama.tasks.store.Writer.flush", fail)
            with pytest.raises(OSError, match="No space"):
                ingest(str(folder), trio)
        (kept,) = shared.glob("prefect-ollama-*")
        kept.write_bytes(b"half a resul")
        reset(trio)
        report = ingest(str(folder), trio)
    assert report.ok
    assert report.outcomes() == {"stored": 2}
    assert (report.embedded, report.reused) == (0, report.chunks)
    assert_right(chunks(place))


def start(
    source: Path, place: Path, at: list[Node], home: Path, workers: str, *, guarded: bool = True
) -> subprocess.Popen[bytes]:
    arguments = [str(source), str(place), workers, *(node.url for node in at)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.flow_process", *arguments],
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"PREFECT_HOME": str(home), "STORE_GUARDED": str(int(guarded))},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_killed_run_is_gone_on_with(
    dask_workers: str, ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path, home: Path
) -> None:
    folder = write_folder(tmp_path / "papers", [f"doc{n:02}" for n in range(30)], pages=2, words=300)
    for node in trio:
        node.control(texts_per_second=15)
    process = start(folder, place, trio, home, dask_workers)
    try:
        trio[0].wait(texts_answered=100)  # some 40 prove what it is and how it counts tokens
    finally:
        process.kill()
        process.communicate()
    before = {text for text, _ in served(trio)}
    for node in trio:
        node.heal()
    reset(trio)
    report = ingest(str(folder), trio)
    rows = chunks(place)
    assert report.ok
    assert_right(rows)
    texts = {text_hash(PREFIX + row["text"]) for row in rows}
    assert report.embedded < len(texts), "work that was done is not done again"
    assert len({text for text, _ in served(trio)} & before & texts) <= 128, "except what was in flight"
    log = Store.open(StoreSpec(str(place), "documents")).runs()
    killed = next(run for run in log if run.status == "interrupted")
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(UUID(killed.run_id)).state_name == "Crashed"

    with temporary_settings(updates={PREFECT_HOME: tmp_path / "other home"}):
        ingest(str(folder), trio, table=LanceTable(uri=str(tmp_path / "undisturbed")))
    assert content(tmp_path / "undisturbed") == content(place)


@pytest.mark.slow  # two processes that import Prefect
@pytest.mark.parametrize("guarded", [True, False], ids=["one host", "two hosts"])
def test_two_runs_at_once_over_one_folder_leave_what_one_leaves(
    dask_workers: str,
    ingest: Ingest,
    trio: list[Node],
    tmp_path: Path,
    place: Path,
    home: Path,
    guarded: bool,
) -> None:
    folder = write_folder(tmp_path / "papers", ["gone", "doc0"])
    ingest(str(folder), trio)
    shutil.rmtree(folder)
    write_folder(folder, [f"doc{n}" for n in range(6)], words=300)
    processes = [start(folder, place, trio, home, dask_workers, guarded=guarded) for _ in range(2)]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert all(orjson.loads(output)["ok"] for output in outputs)
    assert ingest(str(folder), trio).outcomes() == {"unchanged": 6}
    assert manifest(place).keys() == {f"doc{n}.pdf" for n in range(6)}
    ingest(str(folder), trio, table=LanceTable(uri=str(tmp_path / "undisturbed")))
    assert content(place) == content(tmp_path / "undisturbed")


@pytest.mark.slow  # two flows with Dask processes of their own
@pytest.mark.parametrize("killed", [False, True], ids=["both end", "one is killed"])
def test_a_text_that_another_run_is_embedding_is_not_embedded_again(
    prefect_server: str, trio: list[Node], tmp_path: Path, home: Path, killed: bool
) -> None:
    folder = write_folder(tmp_path / "papers", [f"doc{n}" for n in range(8)], pages=2, words=300)
    for node in trio:
        node.control(texts_per_second=4)
    processes = [start(folder, tmp_path / f"table{n}", trio, home, "-") for n in range(2)]
    try:
        trio[0].wait(texts_answered=12)
        if killed:
            processes[0].kill()
        outputs = [process.communicate(timeout=540)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [-signal.SIGKILL if killed else 0, 0]
    report = orjson.loads(outputs[1])
    assert report["ok"]
    rows = chunks(tmp_path / "table1")
    assert_right(rows)
    times = times_embedded(trio, {to_embed(row) for row in rows})
    if killed:
        # What it had sent is sent again, and what was not yet in the cache for a second.
        assert sum(count > 1 for count in times) <= 64
    else:
        # At a run's end a text may be asked of a second node; it counts once.
        assert content(tmp_path / "table0") == content(tmp_path / "table1")
        assert sum(orjson.loads(output)["embedded"] for output in outputs) == len(times)


@pytest.mark.slow
def test_two_runs_at_once_double_and_lose_nothing(
    dask_workers: str, trio: list[Node], tmp_path: Path, place: Path, home: Path
) -> None:
    folders = [
        write_folder(tmp_path / name, [f"{name}{n}" for n in range(6)], words=300)
        for name in ("first", "second")
    ]
    processes = [start(folder, place, trio, home, dask_workers) for folder in folders]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    reports = [orjson.loads(output) for output in outputs]
    assert [report["outcomes"] for report in reports] == [{"stored": 6}] * 2
    rows = chunks(place)
    assert_right(rows)
    assert len(rows) == sum(report["chunks"] for report in reports)
    assert len(manifest(place)) == 12
    assert {row.status for row in manifest(place).values()} == {"stored"}


@pytest.mark.slow
def test_a_flow_run_that_prefect_tries_again_goes_on(
    dask_workers: str, trio: list[Node], tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "papers", ["a"], pages=1)
    flush, calls = Writer.flush, []

    def fail_once(self: Writer) -> None:
        calls.append(self)
        if len(calls) == 1:
            raise OSError("No space left on device")
        flush(self)

    monkeypatch.setattr(Writer, "flush", fail_once)
    flow = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=dask_workers), retries=1)
    report = flow(str(folder), [node.url for node in trio], LanceTable(uri=str(place)))
    assert outcomes(report) == {"a.pdf": "stored"}
    log = Store.open(StoreSpec(str(place), "documents")).runs()
    assert [run.status for run in log if run.kind == "ingest"] == ["failed", "done"]


class Deadly(distributed.WorkerPlugin):
    """Ends a worker process that is given a file of this name, as one that the kernel kills for its memory."""

    def __init__(self, name: str) -> None:
        self.deadly = name

    def setup(self, worker: object) -> None:
        from prefect_ollama.tasks import parse

        chunk_file = parse._chunk_file

        def deadly(source: str, file: Any, *rest: Any) -> Any:
            if file.path == self.deadly:
                os._exit(1)
            return chunk_file(source, file, *rest)

        parse._chunk_file = deadly


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["ours", "Dask's"])
def test_a_file_that_kills_its_worker_takes_no_other_along(
    prefect_server: str,
    trio: list[Node],
    tmp_path: Path,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    scheduler: str,
) -> None:
    if scheduler == "Dask's":  # counts a death against all tasks that wait at the worker
        monkeypatch.delattr(RunScheduler, "remove_worker")
    folder = write_folder(tmp_path / "papers", ["a", "b", "deadly", "y", "z"], pages=1)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        WorkerCluster(1, 4, env={"PREFECT_API_URL": prefect_server}) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2, timeout=240)
        client.register_plugin(Deadly("deadly.pdf"))
        flow = ingest_pdfs.with_options(task_runner=reaching(cluster))
        report = flow(str(folder), [node.url for node in trio], LanceTable(uri=str(place)))
    assert outcomes(report) == {
        f"{name}.pdf": "failed" if name == "deadly" else "stored" for name in ("a", "b", "deadly", "y", "z")
    }
    (failed,) = report.failed
    assert "worker processes died" in failed.reason
    assert "`--retry-failed`" in failed.remedy
    assert manifest(place)["deadly.pdf"].kind == "lost"
    assert_right(chunks(place))
    assert not [state for _, state in states(report, 8) if state not in ("Completed", "Crashed")]


@pytest.mark.slow  # worker processes start three times in vain
def test_that_workers_cannot_start_is_no_files_fault(
    ingest: Ingest, trio: list[Node], tmp_path: Path, place: Path
) -> None:
    folder = write_folder(tmp_path / "papers", ["a", "b"], pages=1)
    flow = ingest_pdfs.with_options(task_runner=IngestTaskRunner(1, 1))
    with killed_as_they_start(1000) as killed, pytest.raises(TaskRunLost, match="no worker process"):
        flow(str(folder), [node.url for node in trio], LanceTable(uri=str(place)))
    assert len(killed) >= 2 * START_TRIES
    assert manifest(place) == {}
    assert ingest(str(folder), trio).outcomes() == {"stored": 2}
