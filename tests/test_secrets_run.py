"""After runs in which everything goes wrong that can, no secret is found anywhere: every place is searched."""

from __future__ import annotations

import json
import os
import pickle
import traceback
import uuid
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import dask.config
import distributed
import httpx
import pymupdf
import pytest
from prefect.blocks.system import Secret
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_HOME, PREFECT_RESULTS_PERSIST_BY_DEFAULT, temporary_settings
from pydantic import SecretStr

from prefect_ollama.blocks import LanceTable, OllamaCluster, OllamaNode
from prefect_ollama.blocks.errors import ClusterError
from prefect_ollama.flows import Advanced, IngestReport, Password, Reading, ingest_pdfs
from prefect_ollama.flows.runner._local_cluster import WorkerCluster
from prefect_ollama.flows.runner.task_runner import IngestTaskRunner
from tests.certificates import reaching
from tests.flow_samples import MODEL, prose, write_folder, write_pdf
from tests.nodes import Node, nodes
from tests.services import NO_IDLE_CONNECTIONS
from tests.test_ingest import Deadly

pytestmark = pytest.mark.usefixtures("prefect_server")


@dataclass(frozen=True)
class Secrets:
    """Secrets of one test, which nothing else can hold by chance."""

    token: str = field(default_factory=lambda: f"token-{uuid.uuid4().hex}")
    password: str = field(default_factory=lambda: f"password-{uuid.uuid4().hex}")
    header: str = field(default_factory=lambda: f"header-{uuid.uuid4().hex}")
    of_pdf: str = field(default_factory=lambda: f"pdf-{uuid.uuid4().hex}")
    wrong: str = field(default_factory=lambda: f"wrong-{uuid.uuid4().hex}")
    key: str = field(default_factory=lambda: f"key-{uuid.uuid4().hex}")

    @property
    def basic(self) -> str:
        """User name and password as they are sent."""
        return b64encode(f"me:{self.password}".encode()).decode()

    def in_text(self, text: str) -> list[str]:
        """Names of the secrets that a text shows, also in part, where it was cut."""
        found = [name for name, value in vars(self).items() if value[:18] in text]
        return [*found, "basic"] if self.basic[:18] in text else found

    def in_bytes(self, data: bytes) -> list[str]:
        return self.in_text(data.decode("latin-1"))

    def in_files(self, *folders: Path) -> dict[str, list[str]]:
        """Files below folders that show secrets, and which."""
        paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        assert paths
        found = {str(path): self.in_bytes(path.read_bytes()) for path in paths}
        return {path: names for path, names in found.items() if names}


@pytest.fixture
def secret() -> Secrets:
    return Secrets()


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[Path]:
    """A Prefect home of the test's own, in which every result is kept."""
    home = tmp_path / "home"
    with temporary_settings(updates={PREFECT_HOME: home, PREFECT_RESULTS_PERSIST_BY_DEFAULT: True}):
        yield home


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What goes to Dask's scheduler for each task, as Dask pickles it."""
    pickled: list[bytes] = []
    submit = distributed.Client.submit

    def noted(self: distributed.Client, function: Any, *args: Any, **options: Any) -> Any:
        plain = {
            name: {key: each for key, each in value.items() if not isinstance(each, distributed.Future)}
            if name == "parameters"
            else value
            for name, value in options.items()
        }
        pickled.append(cloudpickle.dumps((function, args, plain)))
        return submit(self, function, *args, **options)

    monkeypatch.setattr(distributed.Client, "submit", noted)
    return pickled


@pytest.fixture
def gang(secret: Secrets) -> Iterator[list[Node]]:
    """A node that works, one that refuses and says why at length, one that fails in the middle."""
    echo = f"no: Authorization was Basic {secret.basic}, that is {secret.password}; X-Key was {secret.header}"
    with nodes(
        {"texts_per_second": 500, "headers": {"authorization": f"Bearer {secret.token}"}},
        {"faults": ({"name": "unauthorized", "message": echo},)},
        {
            "texts_per_second": 500,
            "headers": {"x-key": secret.header},
            "faults": ({"name": "http500", "message": f"saw {secret.header}", "after_requests": 3},),
        },
    ) as running:
        yield running


def configured(gang: list[Node], secret: Secrets) -> OllamaCluster:
    works, refuses, fails = gang
    return OllamaCluster(
        nodes=[
            OllamaNode(url=works.url, token=secret.token),
            OllamaNode(
                url=refuses.url, username="me", password=secret.password, headers={"X-Key": secret.header}
            ),
            OllamaNode(url=fails.url, headers={"X-Key": secret.header}),
        ],
        model=MODEL,
        give_up_after=1,
    )


def papers(folder: Path, secret: Secrets) -> Path:
    write_folder(folder, ["a", "b", "c"])
    write_pdf(
        folder / "open.pdf",
        [prose("open")],
        encryption=pymupdf.PDF_ENCRYPT_AES_256,
        user_pw=secret.of_pdf,
        owner_pw="owner",
    )
    write_pdf(
        folder / "shut.pdf",
        [prose("shut")],
        encryption=pymupdf.PDF_ENCRYPT_AES_256,
        user_pw="another",
        owner_pw="owner",
    )
    (folder / "junk.pdf").write_bytes(b"no PDF at all" * 50)
    return folder


def on_the_server(url: str) -> str:
    """Return the server's data of all runs, after events in transit have arrived."""
    assert APILogWorker.drain_all(timeout=240)
    EventsWorker.drain_all()
    told = {}
    with httpx.Client(base_url=url, trust_env=False, limits=NO_IDLE_CONNECTIONS, timeout=240) as api:
        for what in ("flow_runs", "task_runs", "logs", "artifacts", "events", "block_documents"):
            answer = api.post(f"/{what}/filter", json={})
            assert answer.is_success, answer.text
            told[what] = answer.json()
    assert told["logs"]
    assert told["artifacts"]
    return json.dumps(told)


def nowhere(
    secret: Secrets, url: str, sent: list[bytes], home: Path, place: Path, logged: str, *said: object
) -> None:
    """Search every place."""
    assert secret.in_text(on_the_server(url)) == []
    # The server's database with all that it ever recorded, and every result that was kept; the vectors; the table.
    assert secret.in_files(Path(os.environ["PREFECT_HOME"]), home, place) == {}
    assert sent
    assert [names for each in sent if (names := secret.in_bytes(each))] == []
    assert "refuses the credentials" in logged
    assert secret.in_text(logged) == []
    for each in said:
        shown = [repr(each), str(each)]
        if isinstance(each, BaseException):
            shown += traceback.format_exception(each)
        assert secret.in_text("\n".join(shown)) == []
        assert secret.in_bytes(pickle.dumps(each)) == []


def passwords(secret: Secrets) -> Reading:
    kept = f"secret-{uuid.uuid4().hex[:8]}"
    Secret(value=secret.of_pdf).save(kept)
    return Reading(
        passwords=[
            Password(password=Secret.load(kept)),  # type: ignore[arg-type]
            Password(pattern="shut.pdf", password=SecretStr(secret.wrong)),
        ]
    )


@pytest.mark.slow
def test_runs_with_errors_show_no_secret(
    prefect_server: str,
    dask_workers: str,
    secret: Secrets,
    gang: list[Node],
    sent: list[bytes],
    tmp_path: Path,
    home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = tmp_path / "db"
    table = LanceTable(uri=str(place), storage_options={"secret_access_key": secret.key})
    flow = ingest_pdfs.with_options(task_runner=IngestTaskRunner(address=dask_workers))
    folder = papers(tmp_path / "papers", secret)
    cluster, reading = configured(gang, secret), passwords(secret)

    report = flow(str(folder), cluster, table, reading=reading)
    assert isinstance(report, IngestReport)
    outcomes = {file.path: file.outcome for file in report.files}
    assert outcomes.pop("shut.pdf") == outcomes.pop("junk.pdf") == "failed"
    assert set(outcomes.values()) == {"stored"}, "the workers had the token and the password"
    assert "refuses the credentials" in str([node.note for node in report.nodes])

    gang[0].control(faults=[{"name": "http500", "message": f"saw {secret.token}", "after_requests": 3}])
    write_folder(folder, [f"more{n}" for n in range(5)], pages=4)
    with pytest.raises(ClusterError) as caught:
        flow(str(folder), cluster, table, reading=reading, advanced=Advanced(use_cache=False))
    assert "left to do" in str(caught.value)
    with distributed.Client(dask_workers, set_as_default=False) as client:
        left = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.worker_plugins))
    assert [name for name in left if name.startswith("prefect-ollama")] == [], "workers that stay forget them"
    specs = (cluster, cluster.to_spec(), table, table.to_spec(), reading, reading.to_options())
    nowhere(secret, prefect_server, sent, home, place, caplog.text, report, caught.value, *specs)


@pytest.mark.slow  # workers of its own, two of which die
def test_a_run_whose_workers_die_shows_no_secret(
    prefect_server: str,
    secret: Secrets,
    gang: list[Node],
    sent: list[bytes],
    tmp_path: Path,
    home: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place = tmp_path / "db"
    table = LanceTable(uri=str(place), storage_options={"secret_access_key": secret.key})
    folder = papers(tmp_path / "papers", secret)
    write_pdf(folder / "deadly.pdf", [prose("deadly")])
    reading = passwords(secret)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        WorkerCluster(1, 4, env={"PREFECT_API_URL": prefect_server}) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(2, timeout=240)
        client.register_plugin(Deadly("deadly.pdf"))
        flow = ingest_pdfs.with_options(task_runner=reaching(cluster))
        report = flow(str(folder), configured(gang, secret), table, reading=reading)
    assert "worker processes died" in {file.path: file.reason for file in report.failed}["deadly.pdf"]
    assert {file.path: file.outcome for file in report.files}["open.pdf"] == "stored", (
        "a worker that starts again has the password"
    )
    nowhere(secret, prefect_server, sent, home, place, caplog.text, report, reading)
