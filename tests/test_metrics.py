"""The metrics for Prometheus: what they count, how they are exported, and that the dashboard uses existing names."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import flow
from prefect.settings import PREFECT_HOME, temporary_settings
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from prefect_ollama.blocks import LanceTable
from prefect_ollama.flows import FileReport, IngestReport, ingest_pdfs
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from prefect_ollama.tasks.monitoring import NodeNow, ProgressState, Snapshot, metrics, observed_by
from prefect_ollama.tasks.monitoring.metrics import RunMetrics
from prefect_ollama.tasks.monitoring.metrics_endpoint import VARIABLE, serve_metrics
from tests.flow_samples import write_folder
from tests.nodes import nodes
from tests.services import free_port

ROOT = Path(__file__).parent.parent
PREFIX = "prefect_ollama_"
DASHBOARD = json.loads((ROOT / "deployments" / "grafana" / "prefect-ollama.json").read_text(encoding="utf-8"))

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Samples:
    """Our samples in what Prometheus is told, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(PREFIX) and not sample.name.endswith("_created")
    }


def now(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(PREFIX + name, labels) or 0.0


def snapshot(
    source: str, *seen: NodeNow, down: frozenset[str] = frozenset(), ended: bool = False
) -> Snapshot:
    return Snapshot(source, 1.0, ProgressState(1, 4, 100, 400, 0.25, None), seen, down, ended=ended)


class TestFigures:
    def test_grow_by_what_is_new_and_gauges_go_with_the_run(self) -> None:
        run, other = RunMetrics(), RunMetrics()
        name = "counted-node"
        at_first = NodeNow(name, "closed", texts=10, requests=2, busy_seconds=1.5, in_flight=2, p50=0.1)
        later = NodeNow(name, "open", texts=25, requests=3, busy_seconds=2.0, kinds={"busy": 2}, in_flight=1)
        run.see(snapshot("a", at_first))
        run.see(snapshot("a", at_first))
        run.see(snapshot("a", later, down=frozenset({name})))
        other.see(snapshot("b", at_first))
        assert now("node_texts_total", node=name) == 35
        assert now("node_requests_total", node=name) == 5
        assert now("node_busy_seconds_total", node=name) == 3.5
        assert now("node_errors_total", node=name, kind="busy") == 2
        assert now("node_in_flight", node=name) == 3
        assert now("node_down", node=name) == 1
        assert now("node_breaker", node=name, state="open") == 1
        assert now("node_breaker", node=name, state="closed") == 1
        assert now("node_request_seconds", node=name, percentile="50") == pytest.approx(0.1)
        assert now("run_progress_ratio", source="a") == 0.25
        run.see(snapshot("a", later, ended=True))
        assert now("node_in_flight", node=name) == 2
        assert now("node_down", node=name) == 0
        other.see(snapshot("b", at_first, ended=True))
        assert now("node_in_flight", node=name) == 0
        assert REGISTRY.get_sample_value(PREFIX + "run_progress_ratio", {"source": "a"}) is None
        assert now("node_texts_total", node=name) == 35

    def test_of_a_run_are_told_once_it_has_ended_however_it_did(self) -> None:
        def runs(status: str) -> float:
            return now("run_seconds_count", status=status)

        done, failed, stored = runs("done"), runs("failed"), now("documents_total", outcome="stored")
        files = (FileReport("a", "stored"), FileReport("b", "stored"), FileReport("c", "failed"))
        with RunMetrics() as run:
            run.end(IngestReport("1", "s", "t", "m", False, files, seconds=2.0), "done")
        with pytest.raises(ValueError, match="no node"), RunMetrics():
            raise ValueError("no node")
        assert (runs("done"), runs("failed")) == (done + 1, failed + 1)
        assert now("documents_total", outcome="stored") == stored + 2


@pytest.fixture
def logins() -> list[str]:
    """What a Pushgateway received, and from which sender."""
    return []


@pytest.fixture
def gateway(logins: list[str]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """What a Pushgateway would get."""
    got: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, body.decode()))
            logins.append(self.headers.get("Authorization", ""))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", got
        server.shutdown()


@flow(name="exposes")
def exposes() -> str:
    with serve_metrics("/papers"):
        return "went on"


@pytest.mark.usefixtures("prefect_server")
class TestExposure:
    def test_nothing_listens_unless_it_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(VARIABLE, raising=False)
        monkeypatch.setattr("prefect_ollama.tasks.monitoring.metrics_endpoint._serve", pytest.fail)
        assert exposes() == "went on"

    @pytest.mark.parametrize("where", ["taken", "no port", "127.0.0.1:70000", "nowhere.invalid:9464"])
    def test_what_cannot_be_served_fails_no_run(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            monkeypatch.setenv(VARIABLE, str(taken.getsockname()[1]) if where == "taken" else where)
            assert exposes() == "went on"
        assert f"No metrics are served, {VARIABLE}=" in caplog.text

    def test_a_gateway_gets_the_last_figures_by_source(
        self, monkeypatch: pytest.MonkeyPatch, gateway: tuple[str, list[tuple[str, str]]]
    ) -> None:
        url, got = gateway
        monkeypatch.setenv(VARIABLE, url)
        assert exposes() == "went on"
        ((path, body),) = got
        assert path.startswith("/metrics/job/prefect-ollama/instance/")
        assert "/source@base64/L3BhcGVycw" in path
        assert any(name == f"{PREFIX}node_texts_total" or name.startswith(PREFIX) for name, _ in parsed(body))

    def test_a_gateway_that_is_away_fails_no_run(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv(VARIABLE, f"http://127.0.0.1:{free_port()}")
        assert exposes() == "went on"
        assert "did not reach" in caplog.text

    @pytest.mark.slow
    def test_a_gateway_gets_its_user_and_password_and_the_log_does_not(
        self,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        gateway: tuple[str, list[tuple[str, str]]],
        logins: list[str],
    ) -> None:
        url, got = gateway
        host = url.removeprefix("http://")
        monkeypatch.setenv(VARIABLE, f"http://me:s3cret%2Fword@{host}")
        assert exposes() == "went on"
        assert len(got) == 1
        assert base64.b64decode(logins[-1].removeprefix("Basic ")) == b"me:s3cret/word"
        for broken in (
            f"http://me:s3cret%2Fword@127.0.0.1:{free_port()}",
            "http://me:s3cret%2Fword@[nowhere",
            "http://me:s3cret%2Fword@127.0.0.1:port",
            "me:s3cret%2Fword@127.0.0.1:99999",
        ):
            monkeypatch.setenv(VARIABLE, broken)
            caplog.clear()
            assert exposes() == "went on"
            assert "etrics" in caplog.text
            assert not [word for word in ("s3cret", "me:") if word in caplog.text]


@pytest.mark.slow
def test_a_run_can_be_scraped_while_it_lasts(
    prefect_server: str, dask_workers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv(VARIABLE, str(port))
    scraped: list[Samples] = []

    def scrape() -> Samples:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=240)
        return parsed(answer.raise_for_status().text)

    def look(run: Snapshot) -> None:
        if run.texts and not run.ended:
            scraped.append(scrape())

    folder = write_folder(tmp_path / "papers", [f"d{n}" for n in range(6)], pages=4, words=300)
    (folder / "junk.pdf").write_bytes(b"no PDF" * 100)
    ingest = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=dask_workers))
    with (
        temporary_settings(updates={PREFECT_HOME: tmp_path / "home"}),
        nodes({"texts_per_second": 25}, {"faults": ("http503",)}) as (works, fails),
        observed_by(look),
    ):
        report = ingest(str(folder), [works.url, fails.url], LanceTable(uri=str(tmp_path / "db")))
    assert isinstance(report, IngestReport)
    name = report.nodes[0].name
    assert scraped, "it was under way for some seconds"

    def of(samples: Samples, what: str, **labels: str) -> float:
        return samples.get((PREFIX + what, tuple(sorted(labels.items()))), 0.0)

    assert 0 < of(scraped[0], "node_texts_total", node=name) <= report.embedded
    assert max(of(each, "node_in_flight", node=name) for each in scraped) > 0
    assert of(scraped[-1], "node_breaker", node=name, state="closed") == 1
    assert 0 < of(scraped[-1], "run_progress_ratio", source=str(folder)) <= 1
    after = scrape()
    assert of(after, "node_texts_total", node=name) == report.embedded
    assert of(after, "node_requests_total", node=name) > 0
    assert of(after, "node_busy_seconds_total", node=name) > 0
    assert of(after, "node_errors_total", node=report.nodes[1].name, kind="busy") >= 1
    assert of(after, "node_in_flight", node=name) == 0
    assert of(after, "vectors_total", origin="node") >= report.embedded
    assert of(after, "documents_total", outcome="failed") >= 1
    assert of(after, "run_seconds_count", status="done") >= 1


# The dashboard and the documentation

METRICS_OF_RUNS = [
    each
    for each in vars(metrics).values()
    if isinstance(each, metrics.Counter | metrics.Gauge | metrics.Summary)
]


def exposed_names() -> dict[str, set[str]]:
    """Names as Prometheus sees them, with their labels."""
    found: dict[str, set[str]] = {}
    for each in METRICS_OF_RUNS:
        (family,) = each.describe()
        suffixes = {"counter": ["_total"], "gauge": [""], "summary": ["_count", "_sum"]}[family.type]
        found |= {family.name + suffix: set(each._labelnames) for suffix in suffixes}
    return found


def queries() -> list[str]:
    variables = [
        each["query"]["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"
    ]
    return variables + [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_the_dashboard_asks_for_metrics_and_labels_that_exist() -> None:
    there = exposed_names()
    asked = {name for query in queries() for name in re.findall(rf"{PREFIX}\w+", query)}
    assert asked
    assert asked <= there.keys()
    assert {name for name in there if name not in asked} == set(), "each figure is shown"
    for query in queries():
        labels = set().union(*(there[name] for name in re.findall(rf"{PREFIX}\w+", query)))
        used = set(re.findall(r"(\w+)\s*(?:=~|!=|=)\s*\"", query))
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            used |= {each.strip() for each in grouped.split(",")}
        assert used <= labels, query
    for panel in DASHBOARD["panels"]:
        assert panel["description"]
        for target in panel["targets"]:
            labels = set().union(*(there[name] for name in re.findall(rf"{PREFIX}\w+", target["expr"])))
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels


def test_every_panel_has_its_place() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place: dict[str, Any] = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_documentation_tells_of_every_figure() -> None:
    told = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for name, labels in exposed_names().items():
        assert f"`{name}`" in told, name
        line = next(line for line in told.splitlines() if f"`{name}`" in line)
        assert labels <= set(re.findall(r"`(\w+)`", line)), line
