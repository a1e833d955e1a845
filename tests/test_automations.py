"""The automations in `deployments/automations/`: one for each event, and a real server takes and runs them."""

from __future__ import annotations

import json
import queue
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args
from uuid import UUID, uuid4

import pytest
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_ollama.tasks.monitoring.events import PREFIX, EventName
from tests import services
from tests.services import BIN, Place
from tests.waiting import until

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "deployments" / "automations").glob("*.yaml"))
UNFILLED = str(UUID(int=0))
WHAT_FOR = {"send-notification": "notification", "call-webhook": "webhook", "run-deployment": "deployment"}


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def test_each_event_has_one_and_the_documentation_tells_of_it() -> None:
    assert {path.stem.replace("-", ".") for path in FILES} == set(get_args(EventName))
    told = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    for path in FILES:
        assert f"(../deployments/automations/{path.name})" in told
        assert f"`{PREFIX}.{path.stem.replace('-', '.')}`" in told


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_server_takes_it(path: Path, prefect_server: str) -> None:
    wanted = AutomationCore.model_validate(read(path) | {"name": f"{path.stem} {uuid4().hex}"})
    with get_client(sync_client=True) as client:
        made = client.create_automation(wanted)
        try:
            found = client.read_automation(made)
        finally:
            client.delete_automation(made)
    assert found is not None
    assert found.trigger == wanted.trigger
    assert found.actions == wanted.actions
    assert found.description
    assert isinstance(found.trigger, EventTrigger)
    event = f"{PREFIX}.{path.stem.replace('-', '.')}"
    assert event in found.trigger.expect | found.trigger.after


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_says_what_to_fill_in(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    (action,) = read(path)["actions"]
    assert text.count(UNFILLED) == 1
    comment = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("#"))
    assert WHAT_FOR[action["type"]] in comment.lower()


def test_a_node_is_missed_after_ten_minutes_by_itself() -> None:
    trigger = AutomationCore.model_validate(
        read(FILES[[path.stem for path in FILES].index("node-down")])
    ).trigger
    assert isinstance(trigger, EventTrigger)
    assert trigger.posture == Posture.Proactive
    assert trigger.within.total_seconds() == 600
    assert (trigger.after, trigger.expect) == ({f"{PREFIX}.node.down"}, {f"{PREFIX}.node.back"})
    assert trigger.for_each == {"prefect.resource.id"}


@pytest.fixture
def receiver() -> Iterator[tuple[str, queue.Queue[tuple[str, str]]]]:
    """Takes what the server calls: path and body."""
    got: queue.Queue[tuple[str, str]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.put((self.path, self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", got
        server.shutdown()


EMIT = """
from prefect import flow
from prefect.events.worker import EventsWorker
from prefect_ollama.tasks.monitoring import emit

@flow
def happens():
    emit("node.down", "gpu", reason="refused")
    emit("node.back", "mini")
    for n in range(6):
        path = f"{n}.pdf"
        emit("document.failed", path, source="/papers", path=path, reason="torn", remedy="Repair it.")
    emit("run.published", "r1", table='/db/my "papers"', version=7, run="r1", kind="ingest")

happens()
EventsWorker.drain_all()
"""


@pytest.mark.slow  # a server that stays, which alone has automations
def test_each_acts_on_its_event(tmp_path: Path, receiver: tuple[str, queue.Queue[tuple[str, str]]]) -> None:
    url, got = receiver
    place = Place(tmp_path)
    with services.prefect_server(place) as (api, _):
        with temporary_settings(updates={PREFECT_API_URL: place.more_env["PREFECT_API_URL"]}):
            hook = Webhook(url=f"{url}/hook", allow_private_urls=True).save("hook")
            note = CustomWebhookNotificationBlock(
                name="note",
                url=f"{url}/note",
                json_data={"subject": "{{subject}}", "body": "{{body}}"},
                allow_private_urls=True,
            ).save("note")
            with get_client(sync_client=True) as client:
                deployment = client.create_deployment(client.create_flow_from_name("again"), "nightly")
        ids = {"send-notification": note, "call-webhook": hook, "run-deployment": deployment}
        all_of_them = [read(path) for path in FILES]
        for automation in all_of_them:
            (action,) = automation["actions"]
            action[{"run-deployment": "deployment_id"}.get(action["type"], "block_document_id")] = str(
                ids[action["type"]]
            )
            if automation["trigger"]["posture"] == "Proactive":
                automation["trigger"]["within"] = 10
        (tmp_path / "all.yaml").write_text(yaml.safe_dump(all_of_them), encoding="utf-8")
        created = place.run(BIN / "prefect", "automation", "create", "--from-file", tmp_path / "all.yaml")
        assert all(automation["name"] in created for automation in all_of_them), created
        place.run(sys.executable, "-c", EMIT)
        calls = [got.get(timeout=240) for _ in range(3)]
        started = until(
            lambda: api.post("/flow_runs/filter", deployments={"id": {"any_": [str(deployment)]}})
        )
        assert got.empty(), "one call each"
    notes = {json.loads(body)["subject"]: json.loads(body)["body"] for path, body in calls if path == "/note"}
    assert notes.keys() == {"Ollama node gpu is down", "Documents fail in /papers"}
    assert re.search(r"the last one is \d\.pdf: torn", notes["Documents fail in /papers"])
    (hooked,) = [json.loads(body) for path, body in calls if path == "/hook"]
    assert hooked == {"table": '/db/my "papers"', "version": 7, "run": "r1", "kind": "ingest"}
    assert len(started) == 1
