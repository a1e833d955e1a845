"""A run as Prefect's server shows it while it runs, over simulated nodes, real Dask processes and a real server."""

from __future__ import annotations

import base64
import logging
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import distributed
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import Artifact, TaskRun
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from prefect_ollama.blocks import LanceTable
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.flows import IngestReport, ingest_pdfs
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from prefect_ollama.tasks.monitoring import Snapshot, live_artifacts, observed_by, state
from tests import feed
from tests.api_proxy import api_proxy
from tests.flow_samples import write_folder
from tests.nodes import Node, nodes
from tests.waiting import until

UNLIKE = ({"texts_per_second": 80}, {"texts_per_second": 40}, {"texts_per_second": 20, "slots": 2})


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    with temporary_settings(updates={PREFECT_HOME: home}):
        yield home


Ingest = Callable[[list[Node], int], IngestReport]


@pytest.fixture
def ingest(dask_workers: str, tmp_path: Path) -> Ingest:
    """Ingest so many documents of about twenty chunks."""
    flow = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=dask_workers))

    def run(at: list[Node], documents: int) -> IngestReport:
        folder = write_folder(tmp_path / "papers", [f"doc{n}" for n in range(documents)], pages=4, words=300)
        return flow(str(folder), [node.url for node in at], LanceTable(uri=str(tmp_path / "db")))

    return run


def artifacts(report: IngestReport) -> dict[str, list[Artifact]]:
    """The artifacts of a run, by key."""
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(report.run_id)]))
    found: dict[str, list[Artifact]] = {}
    with get_client(sync_client=True) as client:
        for artifact in client.read_artifacts(artifact_filter=wanted):
            found.setdefault(str(artifact.key), []).append(artifact)
    return found


def task_runs(report: IngestReport, last: str) -> list[TaskRun]:
    """The task runs of a run, once that of the last task is there: a server writes them down a moment later."""
    this = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(report.run_id)]))
    with get_client(sync_client=True) as client:

        def read() -> list[TaskRun] | None:
            found = client.read_task_runs(flow_run_filter=this)
            return found if any(run.name.startswith(last) for run in found) else None

        return until(read)


def left_behind() -> list[str]:
    """Our threads that should be gone."""
    return [thread.name for thread in threading.enumerate() if thread.name in ("watch", "memory", "stats")]


@pytest.mark.slow
def test_a_run_shows_its_progress_its_nodes_and_its_course(
    ingest: Ingest, dask_workers: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live_artifacts, "PUBLISH_INTERVAL_S", 0.5)
    seen: list[Snapshot] = []
    caplog.set_level(logging.INFO)
    with nodes(*UNLIKE) as trio, observed_by(seen.append):
        report = ingest(trio, 30)
    found = artifacts(report)
    assert {key: len(made) for key, made in found.items()} == {
        "ingest-progress": 1,
        "ingest-nodes": 1,
        "ingest-report": 1,
    }
    (progress,) = found["ingest-progress"]
    assert (progress.type, progress.data) == ("progress", 100)
    assert "30 of 30 documents" in str(progress.description)
    assert f"{report.embedded:,} texts embedded" in str(progress.description)
    assert progress.updated is not None
    assert progress.created is not None
    assert progress.updated > progress.created

    (listed,) = found["ingest-nodes"]
    assert listed.type == "markdown"
    for node in report.nodes:
        mine = str(listed.data).split(f"**{escape_markdown(node.name)}**: ")[1].split("**")[0]
        share = re.search(r"share ([0-9]+)%, in flight 0, breaker closed", mine)
        assert share is not None
        # The report counts stored chunks, and the live list vectors, of which a cancelled task may leave some unused.
        assert abs(int(share[1]) - 100 * node.share) <= 2
        assert re.search(r"VRAM [0-9,]+ MiB, model [0-9,]+ MiB, all on the GPU", mine)
        assert re.search(r"seconds of a request: p50 [0-9.]+, p95 [0-9.]+", mine)
        assert escape_markdown(node.name) in str(progress.description)

    (page,) = found["ingest-report"]
    assert report.efficiency is not None
    assert 0 < report.efficiency <= 1
    assert f"Efficiency {report.efficiency:.0%}: the part of the texts" in str(page.data)
    picture = re.search(r"!\[[^]]*\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", str(page.data))
    assert picture is not None
    drawn = "".join(ElementTree.fromstring(base64.b64decode(picture[1])).itertext())
    for node in report.nodes:
        drawn_share = re.search(rf"{re.escape(node.name)}: ([0-9]+)%", drawn)
        assert drawn_share is not None
        assert abs(int(drawn_share[1]) - 100 * node.share) <= 2

    assert [run.progress_state.part for run in seen] == sorted(run.progress_state.part for run in seen)
    assert any(node.in_flight for run in seen[:-1] for node in run.nodes), "it was seen under way"
    assert [run.ended for run in seen] == [False] * (len(seen) - 1) + [True]
    assert seen[-1].texts == sum(node.texts for node in seen[-1].nodes) == report.embedded
    said = [record.message for record in caplog.records if "texts embedded" in record.message]
    assert len(said) == 1
    assert all(hasattr(record, "prefect_ollama") for record in caplog.records if record.message in said)

    names = sorted(re.sub(r"\d+", "N", run.name) for run in task_runs(report, "publish"))
    source = re.sub(r"\d+", "N", report.source)
    expected = (
        "maintain documents",
        f"plan {source}",
        "verify N nodes",
        "store N chunks",
        "publish version N",
    )
    assert set(names) == {*expected, "parse N files · bundle N", "embed N chunks · bundle N"}

    assert left_behind() == []
    with distributed.Client(dask_workers, set_as_default=False) as client:
        assert set(map(tuple, client.run(left_behind).values())) == {()}
        assert client.run_on_scheduler(heard_topics) == []


def heard_topics(dask_scheduler: Any) -> list[str]:
    """Topics of flows that somebody still listens to."""
    topics = dask_scheduler._broker._topics.items()
    return [name for name, topic in topics if name.startswith("Client-") and topic.subscribers]


@pytest.mark.slow
def test_updates_that_get_lost_fail_nothing_and_the_last_one_comes(
    ingest: Ingest, prefect_server: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live_artifacts, "PUBLISH_INTERVAL_S", 0.2)
    caplog.set_level(logging.WARNING)
    with api_proxy(prefect_server) as proxy, nodes(*UNLIKE) as trio:

        def watching(run: Snapshot) -> None:
            proxy.lost = "" if run.ended else "PATCH /api/artifacts/"

        with temporary_settings({PREFECT_API_URL: proxy.url}), observed_by(watching):
            report = ingest(trio, 25)
        lost = proxy.calls_of("PATCH /api/artifacts/")
    assert report.ok
    assert len(lost) > 2, "an update was lost, and the last two came"
    found = artifacts(report)
    assert [made.data for made in found["ingest-progress"]] == [100]
    assert set(re.findall(r"in flight (\d+)", str(found["ingest-nodes"][0].data))) == {"0"}
    assert [record.message for record in caplog.records if "what it should show" in record.message] == []


@pytest.mark.slow  # two runs, one of them of several seconds
def test_the_calls_of_a_run_are_a_few_a_second_whatever_its_size(ingest: Ingest, prefect_server: str) -> None:
    ended: list[Snapshot] = []
    with api_proxy(prefect_server) as proxy, nodes(*UNLIKE) as trio:
        for documents in (10, 150):
            proxy.calls.clear()
            with temporary_settings({PREFECT_API_URL: proxy.url}), observed_by(ended.append):
                report = ingest(trio, documents)
            assert report.ok
            rounds = ended[-1].seconds / live_artifacts.PUBLISH_INTERVAL_S + 2  # the first and the last
            assert 4 <= len(proxy.calls_of(" /api/artifacts/")) <= 2 * rounds + 1  # and the report
            assert len(proxy.calls_of(" /api/events/filter")) == 1
            assert len(proxy.calls) < 60 + 2 * report.seconds  # any flow run begins with some thirty


@pytest.mark.slow  # the server is given time to answer, and doesn't
def test_a_server_that_hangs_fails_nothing_and_holds_nobody_up(
    ingest: Ingest, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_artifacts, "PUBLISH_INTERVAL_S", 0.2)
    monkeypatch.setattr(live_artifacts, "SERVER_TIMEOUT_S", 1.0)
    with api_proxy(prefect_server) as proxy, nodes(*UNLIKE) as trio:
        proxy.held = "PATCH /api/artifacts/"
        with temporary_settings({PREFECT_API_URL: proxy.url}):
            report = ingest(trio, 25)
        assert proxy.calls_of("PATCH /api/artifacts/")
    assert report.ok
    assert left_behind() == []


def test_a_node_with_another_model_is_left_out_and_not_down(
    ingest: Ingest, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Snapshot] = []
    with nodes({}, {}, {"weights": "b"}) as made, observed_by(seen.append):
        report = ingest(made, 2)
    name = made[2].url.removeprefix("http://")
    states = {state(node, run) for run in seen for node in run.nodes if node.name == name}
    assert states == {"left out"}
    (down,) = feed.of_run(report.run_id, 1, prefix="prefect-ollama.node.")
    assert "another model" in down.payload["reason"]


@pytest.mark.slow  # a node counts as down after two seconds, and as back after five
def test_a_node_that_dies_and_comes_back_is_told_of(ingest: Ingest, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    seen: list[Snapshot] = []
    with nodes({"texts_per_second": 60}, {"texts_per_second": 40}) as (stays, dies):
        name = dies.url.removeprefix("http://")

        def watching(run: Snapshot) -> None:
            seen.append(run)
            node = next(node for node in run.nodes if node.name == name)
            if dies.alive and node.texts and not any(name in each.down for each in seen):
                dies.kill()
            elif not dies.alive and name in run.down:
                dies.restart()
            elif name not in run.down and any(name in each.down for each in seen):
                # It is back. There is work for a minute, so that it is back before the end on a busy machine too.
                for each in (stays, dies):
                    each.control(speed=20.0)

        with observed_by(watching):
            report = ingest([stays, dies], 200)
    assert report.ok
    assert any(name in run.down for run in seen)
    assert name not in seen[-1].down
    down, back = feed.of_run(report.run_id, 2, prefix="prefect-ollama.node.")
    assert [down.event, back.event] == ["prefect-ollama.node.down", "prefect-ollama.node.back"]
    assert {down.resource.id, back.resource.id} == {f"prefect-ollama.node.{name}"}
    assert name in down.payload["reason"]
    said = [record.message for record in caplog.records if hasattr(record, "prefect_ollama")]
    assert sum(line.startswith("Down: ") and name in line for line in said) == 1
    assert f"Node {name!r} is back" in said
    (page,) = artifacts(report)["ingest-report"]
    picture = re.search(r"base64,([A-Za-z0-9+/=]+)", str(page.data))
    assert picture is not None
    assert f"{name} did not work" in base64.b64decode(picture[1]).decode()
