"""The deployments in `deployments/`, on a real server with a real worker, run through its API as the UI does it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from prefect import Flow
from prefect.utilities.importtools import import_object

import prefect_ollama.flows
from prefect_ollama.blocks.lance import Store, StoreSpec
from tests.flow_samples import manifest, write_folder
from tests.nodes import Node, nodes
from tests.services import BIN, Api, Place, Service, prefect_server
from tests.waiting import until

ROOT = Path(__file__).parent.parent
DEPLOYMENTS = ROOT / "deployments"
UNITS = sorted((DEPLOYMENTS / "systemd").iterdir())
ENTRIES = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
SERVER = {
    # As in compose.yaml and the unit.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    # What is waited for here, every second and not every half minute; and nothing starts by the clock.
    "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
}
MANY = range(30)

# Processes that import Prefect start one after another, a run is one of them.
slow = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_every_flow_has_a_deployment() -> None:
    flows = {value for value in vars(prefect_ollama.flows).values() if isinstance(value, Flow)}
    assert {import_object(each["entrypoint"]) for each in ENTRIES} == flows


def test_deployments_have_no_tags() -> None:
    """For each tag of a run each of its task runs asks the server for a concurrency slot."""
    assert not [each["name"] for each in ENTRIES if each.get("tags")]


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_unit_keeps_others_out(unit: Path) -> None:
    lines = unit.read_text(encoding="utf-8").splitlines()
    assert {"UMask=0077", "StateDirectoryMode=0700", "NoNewPrivileges=yes", "CapabilityBoundingSet="} <= set(
        lines
    )
    # What stands in a unit is told to everybody by `systemctl show`.
    assert not [line for line in lines if line.startswith("Environment=") and "AUTH_STRING" in line]
    (file,) = (line.partition("=")[2] for line in lines if line.startswith("EnvironmentFile="))
    if unit.name == "prefect-server.service":
        assert file == "/etc/prefect-ollama/server.env"
        assert any(
            line.startswith("Environment=PREFECT_SERVER_CORS_ALLOWED_ORIGINS=http://127") for line in lines
        )
    else:
        assert file == "/etc/prefect-ollama/client.env"


@pytest.mark.slow  # by what it needs
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    text = unit.read_text(encoding="utf-8")
    (command,) = (line.partition("=")[2] for line in text.splitlines() if line.startswith("ExecStart="))
    program, *rest = shlex.split(command)
    assert program.startswith("/opt/prefect-ollama/bin/")
    assert (BIN / Path(program).name).exists()
    if rest[-1].endswith(".py"):
        assert (DEPLOYMENTS / Path(rest[-1]).name).exists()
    assert verify, "apt-get install systemd"
    copy = tmp_path / unit.name
    copy.write_text(text.replace("/opt/prefect-ollama/bin", str(BIN)), encoding="utf-8")
    done = subprocess.run([verify, "verify", copy], capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder with nothing of this project in it but `deployments/`."""
    folder = tmp_path_factory.mktemp("deployed")
    shutil.copytree(DEPLOYMENTS, folder / "deployments")
    write_folder(folder / "papers", ["apple", "birch"])
    for name in ("many", "others"):  # two, because no text of the first is ever embedded again
        write_folder(folder / name, [f"{name} {number}" for number in MANY])
    return Place(folder)


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[tuple[Api, Service]]:
    with prefect_server(place, **SERVER) as server:
        yield server


@pytest.fixture(scope="module")
def api(server: tuple[Api, Service]) -> Api:
    return server[0]


@pytest.fixture(scope="module")
def worker(place: Place, api: Api) -> Iterator[Service]:
    """A worker, all deployments for it, and the blocks that the forms offer."""
    place.run(BIN / "prefect", "work-pool", "create", "ollama", "--type", "process")
    place.run(BIN / "prefect", "block", "register", "-m", "prefect_ollama.blocks")
    place.run(BIN / "prefect", "--no-prompt", "deploy", "--all", cwd=place.folder / "deployments")
    with place.serving("worker", *WORKER) as service:
        yield service


WORKER = (BIN / "prefect", "worker", "start", "--pool", "ollama", "--type", "process")


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with nodes({"texts_per_second": 400}) as (node,):
        yield node


def block(api: Api, slug: str, name: str, **data: Any) -> dict[str, Any]:
    """Save a block as its form does, and return what the form of a run says when it is picked."""
    block_type = api.get(f"/block_types/slug/{slug}")["id"]
    (schema, *_) = api.post("/block_schemas/filter", block_schemas={"block_type_id": {"any_": [block_type]}})
    made = api.post(
        "/block_documents/", name=name, data=data, block_type_id=block_type, block_schema_id=schema["id"]
    )
    return {"$ref": {"block_document_id": made["id"]}}


def blocks(api: Api, slug: str) -> list[dict[str, Any]]:
    """The saved blocks of a type."""
    return api.get(f"/block_types/slug/{slug}/block_documents")


def deployed(api: Api) -> dict[str, Any]:
    """What the server knows of the deployments, without ids and times."""
    keep = ("entrypoint", "parameters", "description", "enforce_parameter_schema", "parameter_openapi_schema")
    flows = {each["id"]: each["name"] for each in api.post("/flows/filter")}
    return {
        f"{flows[each['flow_id']]}/{each['name']}": {key: each[key] for key in keep}
        | {
            "limit": (each["global_concurrency_limit"] or {}).get("limit"),
            "collision": (each["concurrency_options"] or {}).get("collision_strategy"),
            "schedules": [
                {**schedule["schedule"], "active": schedule["active"], "slug": schedule["slug"]}
                for schedule in each["schedules"]
            ],
        }
        for each in api.post("/deployments/filter")
    }


class TestWorkPool:
    pytestmark = slow

    def test_runs_started_from_the_ui_complete(
        self, api: Api, worker: Service, place: Place, node: Node
    ) -> None:
        cluster = block(api, "ollama-cluster", "home", nodes=[node.url])
        table = block(api, "lance-table", "papers", uri=str(place.folder / "tables"), table="papers")
        source, stored = str(place.folder / "papers"), StoreSpec(str(place.folder / "tables"), "papers")
        run = api.start("ingest-pdfs/nightly", source=source, cluster=cluster, table=table)
        assert api.reached(run)["state_name"] == "Completed", api.story(run)
        assert {row.status for row in manifest(place.folder / "tables", "papers").values()} == {"stored"}
        port = int(node.url.rpartition(":")[2])
        runs = [
            api.start("search/by-hand", question="apple", cluster=cluster, table=table),
            api.start("check-nodes/hourly", cluster=cluster),
            api.start("discover-nodes/by-hand", networks=["127.0.0.1"], ports=[port], save=True),
        ]
        for each in runs:
            assert api.reached(each)["state_name"] == "Completed", api.story(each)
        (found,) = blocks(api, "ollama-node")
        assert found["data"]["url"] == node.url
        cut = Store.open(stored).identity.chunker
        # A search that runs out of time saves nothing, so it has more than it needs on a node with other work.
        tuned = api.start("tune-nodes/by-hand", cluster=[found["name"]], seconds=10, tokens=20)
        again = api.start("re-embed/by-hand", table=table, cluster=cluster, chunking={"target_tokens": 100})
        for each in (tuned, again):
            assert api.reached(each)["state_name"] == "Completed", api.story(each)
        (found,) = blocks(api, "ollama-node")
        fields = {"requests at once": "max_in_flight", "texts in a request": "max_request_texts"}
        # The server may get the last lines of a run after its last state.
        said = until(
            lambda: re.findall(r": saved (.*)", api.story(tuned)), why=lambda: api.story(tuned)
        ).pop()
        saved = {fields[what]: int(count) for count, what in re.findall(f"(\\d+) ({'|'.join(fields)})", said)}
        assert saved, said
        assert saved.items() <= found["data"].items()
        assert Store.open(stored).identity.chunker != cut
        maintenance = api.start("maintain-table/weekly", table=table)
        assert api.reached(maintenance)["state_name"] == "Completed", api.story(maintenance)
        for undone in (again, run):
            back = api.start("roll-back/by-hand", run_id=undone, table=table)
            assert api.reached(back)["state_name"] == "Completed", api.story(back)
        assert not manifest(place.folder / "tables", "papers")

    def test_a_wrong_parameter_is_refused_before_anything_starts(self, api: Api, worker: Service) -> None:
        for wrong in ({"source": 5}, {"source": None}, {"reading": {"ocr": "maybe"}}):
            with pytest.raises(httpx.HTTPStatusError) as raised:
                api.start("ingest-pdfs/nightly", **wrong)
            assert raised.value.response.status_code == 409

    def test_runs_of_one_deployment_do_not_overlap(
        self, api: Api, worker: Service, place: Place, node: Node
    ) -> None:
        ask = {
            "source": str(place.folder / "many"),
            "cluster": [node.url],
            "table": str(place.folder / "many-1"),
        }
        ids = [api.start("ingest-pdfs/nightly", **ask) for _ in range(2)]
        ended = [api.reached(each) for each in ids]
        assert {each["state_name"] for each in ended} == {"Completed"}, "\n".join(map(api.story, ids))
        first, second = sorted(ended, key=lambda each: each["start_time"])
        assert first["end_time"] <= second["start_time"]
        assert "AwaitingConcurrencySlot" in api.story(second["id"])
        assert len(manifest(Path(ask["table"]))) == len(MANY)

    def test_a_killed_run_holds_its_slot_for_five_minutes_at_most(
        self, server: tuple[Api, Service], worker: Service, place: Place, node: Node
    ) -> None:
        """Run, worker and server go down together; the minutes are doubled by a lease that has run out meanwhile."""
        api, service = server
        ask = {
            "source": str(place.folder / "others"),
            "cluster": [node.url],
            "table": str(place.folder / "others-1"),
        }
        node.control(texts_per_second=2)
        node.reset()
        killed = api.start("ingest-pdfs/nightly", **ask)
        node.wait(texts_answered=12, timeout=300)  # the run has begun to ask it
        assert worker.process is not None
        below = psutil.Process(worker.process.pid).children(recursive=True)
        worker.kill()
        for process in below:  # runs are groups of their own
            if process.is_running():
                process.kill()
        service.kill()
        node.control(texts_per_second=400)
        (lease,) = (place.home / "concurrency_leases").glob("*-*.json")
        index = lease.with_name("expirations.json")
        run_out = "2020-01-01T00:00:00+00:00"
        lease.write_text(json.dumps({**json.loads(lease.read_text()), "expiration": run_out}))
        index.write_text(json.dumps(dict.fromkeys(json.loads(index.read_text()), run_out)))
        service.start()
        until(api.healthy, why=lambda: service.said)
        assert api.flow_run(killed)["state_name"] == "Running"
        with place.serving("worker-2", *WORKER):
            after = api.start("ingest-pdfs/nightly", **ask)
            assert api.reached(after)["state_name"] == "Completed", api.story(after)
        assert api.flow_run(killed)["state_name"] == "Crashed"
        assert len(manifest(Path(ask["table"]))) == len(MANY)


class TestServe:
    pytestmark = slow

    def test_the_same_deployments_run_without_a_work_pool(
        self, api: Api, worker: Service, place: Place, node: Node
    ) -> None:
        by_pool = deployed(api)
        with place.serving("serve", BIN / "python", place.folder / "deployments" / "serve.py") as service:
            until(lambda: "Your deployments are being served" in service.said, why=lambda: service.said)
            assert deployed(api) == by_pool
            table = str(place.folder / "served")
            run = api.start(
                "ingest-pdfs/nightly", source=str(place.folder / "papers"), cluster=[node.url], table=table
            )
            assert api.reached(run)["state_name"] == "Completed", api.story(run)
            asked = api.start("search/by-hand", question="apple", cluster=[node.url], table=table)
            assert api.reached(asked)["state_name"] == "Completed", api.story(asked)
