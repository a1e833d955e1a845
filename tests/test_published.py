"""What runs report to Prefect: tables as assets, failed documents, published runs; on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow
from prefect.events import Event
from prefect.runtime import flow_run
from prefect.settings import PREFECT_HOME, temporary_settings

from prefect_ollama.blocks import LanceTable
from prefect_ollama.blocks.documents import Document
from prefect_ollama.blocks.lance import StoreSpec
from prefect_ollama.flows import IngestReport, ingest_pdfs, re_embed, roll_back
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from prefect_ollama.tasks.monitoring.events import MAX_DOCUMENT_EVENTS, FailureEvents
from prefect_ollama.tasks.prefect_state.assets import MAX_FOLDERS, source_assets, table_asset
from tests import feed
from tests.flow_samples import MODEL, chunks, write_folder
from tests.nodes import Node, nodes

ASSETS = "prefect.asset."


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with nodes({"dimension": 64, "models": (MODEL, "other")}) as (running,):
        yield running


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[Path]:
    with temporary_settings(updates={PREFECT_HOME: tmp_path / "home"}):
        yield tmp_path / "home"


class TestKeys:
    @pytest.mark.parametrize(
        ("uri", "key"),
        [
            ("/data/lancedb", "file:///data/lancedb/papers"),
            ("file:///data/lancedb", "file:///data/lancedb/papers"),
            ("s3://bucket/lancedb", "s3://bucket/lancedb/papers"),
            ("s3+ddb://bucket/lancedb", "s3://bucket/lancedb/papers"),
            ("abfss://files@account/lancedb", "abfss://files@account/lancedb/papers"),
        ],
    )
    def test_is_the_place(self, uri: str, key: str) -> None:
        assert table_asset(StoreSpec(uri, "papers")).key == key

    def test_holds_no_credentials(self) -> None:
        place = "https://account/lancedb?sig=hush&x=1"
        assert table_asset(StoreSpec(place, "papers")).key == "https://account/lancedb"
        with pytest.raises(ValueError, match="credentials"):
            LanceTable(uri="s3://key:hush@bucket/x")

    def test_of_two_places_that_prefect_cannot_spell_are_two(self) -> None:
        odd = [
            "/data/my papers",
            "/data/my_papers",
            "/data/my%papers",
            "/data/" + "x" * 600,
            "/data/" + "x" * 601,
        ]
        keys = [table_asset(StoreSpec(place, "t")).key for place in odd]
        assert len(set(keys)) == len(odd)
        assert table_asset(StoreSpec(odd[0], "t")).key == keys[0]

    def test_of_a_source_is_its_folder(self) -> None:
        (asset,) = source_assets("/home/me/Papiere für später")
        assert asset.key.startswith("file:///home/me/Papiere_für_später~")
        assert asset.properties is not None
        assert asset.properties.name == "/home/me/Papiere für später"
        assert source_assets("") == []
        paths = ["/a/1.pdf", "/a/2.pdf", "/b/3.pdf"]
        assert [each.key for each in source_assets("files", paths)] == ["file:///a", "file:///b"]
        assert len(source_assets("files", (f"/{n}/x.pdf" for n in range(100)))) == MAX_FOLDERS


def materialised(run_id: object, count: int = 1) -> list[Event]:
    events = feed.of_run(str(run_id), count, prefix=ASSETS)
    return [event for event in events if event.event == "prefect.asset.materialization.succeeded"]


def published(run_id: object, count: int) -> list[Event]:
    return [
        event for event in feed.of_run(str(run_id), count) if event.event == "prefect-ollama.run.published"
    ]


@pytest.mark.slow
def test_what_changes_a_table_is_an_asset_of_its_sources_and_an_event(
    prefect_server: str, dask_workers: str, node: Node, tmp_path: Path
) -> None:
    place = tmp_path / "db"
    table = LanceTable(uri=str(place))
    ingest = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=dask_workers))
    folder = write_folder(tmp_path / "papers", ["a", "b"], pages=1)
    (folder / "junk.pdf").write_bytes(b"no PDF" * 100)

    report = ingest(str(folder), [node.url], table, MODEL)
    assert isinstance(report, IngestReport)
    (event,) = materialised(report.run_id, 2)
    assert event.resource.id == f"file://{place}/documents"
    assert event.resource.name == "documents"
    roles = {each.role: each.id for each in event.related}
    assert roles["asset"] == f"file://{folder}"
    assert roles["asset-materialized-by"] == "prefect-ollama"
    expected = {
        "run": report.run_id,
        "kind": "ingest",
        "status": "done",
        "source": str(folder),
        "version": report.version,
        "rows": len(chunks(place)),
        "documents": 3,
        "model": MODEL,
        "dimension": 64,
        "chunks": report.chunks,
        "embedded": report.embedded,
        "node_seconds": round(report.node_seconds, 3),
    }
    assert event.payload.items() >= expected.items()

    failed, told = feed.of_run(report.run_id, 2)
    assert (failed.event, failed.resource.name) == ("prefect-ollama.document.failed", "junk.pdf")
    assert failed.payload["kind"] == "not-a-pdf"
    assert failed.payload["remedy"]
    assert told.event == "prefect-ollama.run.published"
    assert told.resource.id == f"prefect-ollama.run.{report.run_id}"
    assert told.payload == event.payload | {"table": f"{place}/documents"}

    again = ingest(str(folder), [node.url], table, MODEL, retry_failed=True)
    assert again.outcomes() == {"unchanged": 2, "failed": 1}
    (failed_again,) = feed.of_run(again.run_id, 1)
    assert failed_again.event == "prefect-ollama.document.failed", (
        "a run that changed nothing is not published"
    )
    assert materialised(again.run_id, 0) == []

    (folder / "b.pdf").unlink()
    removed = ingest(str(folder), [node.url], table, MODEL)
    (event,) = materialised(removed.run_id, 2)
    assert (event.payload["removed"], event.payload["rows"]) == (1, len(chunks(place)))

    undone = roll_back(removed.run_id, table)
    (event,) = materialised(undone.run_id, 2)
    assert {each.id for each in event.related} >= {f"file://{folder}"}
    assert (event.payload["kind"], event.payload["restored"]) == ("roll back", 1)
    (told,) = published(undone.run_id, 1)
    assert told.payload["version"] == event.payload["version"]


@pytest.mark.slow  # two flow runs, one with Dask workers of its own
def test_a_table_that_is_embedded_again_is_told_of_once_it_is_swapped_in(
    prefect_server: str, dask_workers: str, node: Node, tmp_path: Path
) -> None:
    place = tmp_path / "db"
    table = LanceTable(uri=str(place))
    ingest = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=dask_workers))
    folder = write_folder(tmp_path / "papers", ["a"], pages=1)
    first = ingest(str(folder), [node.url], table, MODEL)
    swapped = re_embed(table, [node.url], "other")
    (event,) = materialised(swapped.run_id, 2)
    assert event.resource.id == f"file://{place}/documents"
    assert (event.payload["kind"], event.payload["model"]) == ("re-embed", "other")
    assert {each.id for each in event.related} >= {f"file://{folder}"}
    assert len(published(swapped.run_id, 1)) == 1
    with_beside = feed.of_run(first.run_id, 2, prefix=ASSETS)
    assert {event.resource.id for event in with_beside} == {f"file://{place}/documents", f"file://{folder}"}


def test_many_failed_documents_are_told_of_in_bounds(prefect_server: str) -> None:
    @flow(name="fails")
    def fails() -> str:
        failures = FailureEvents("a run")
        for start in range(0, 1000, 100):
            failures.tell(
                Document(f"d{n}", "/papers", f"{n}.pdf", "failed") for n in range(start, start + 100)
            )
        failures.end()
        failures.end()
        return str(flow_run.id)

    ran = fails()
    told = feed.of_run(ran, MAX_DOCUMENT_EVENTS + 1)
    assert len(told) == MAX_DOCUMENT_EVENTS + 1
    assert [event.payload.get("path") for event in told[:2]] == ["0.pdf", "1.pdf"]
    assert told[-1].resource.name == f"{1000 - MAX_DOCUMENT_EVENTS} more documents"
    assert told[-1].payload == {"run": "a run", "more": 1000 - MAX_DOCUMENT_EVENTS}
