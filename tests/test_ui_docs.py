"""The automations that docs/ui.md shows, on a real Prefect server."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore

from prefect_ollama.flows import check_nodes
from prefect_ollama.tasks.events import PREFIX
from tests.nodes import nodes

PAGE = Path(__file__).parent.parent / "docs" / "ui.md"
AUTOMATIONS = re.findall(
    r"^```yaml\n(name: .*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("text", AUTOMATIONS)
def test_a_server_takes_the_automations_of_the_docs(text: str) -> None:
    wanted = AutomationCore.model_validate(yaml.safe_load(text))
    with get_client(sync_client=True) as client:
        made = client.create_automation(wanted)
        automation = client.read_automation(made)
        client.delete_automation(made)
    assert automation is not None
    assert automation.trigger == wanted.trigger
    assert automation.actions == wanted.actions


def test_the_docs_show_one_for_nodes() -> None:
    assert any(f"{PREFIX}.node.down" in text and f"{PREFIX}.node.back" in text for text in AUTOMATIONS)


@pytest.fixture
def calls() -> Iterator[tuple[str, queue.Queue[str]]]:
    """An address that takes notifications, and what came there."""
    came: queue.Queue[str] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.put(self.rfile.read(int(self.headers["content-length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", came
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@pytest.mark.slow  # ten seconds are the shortest that a server waits for what it expects
@pytest.mark.usefixtures("prefect_server")
def test_the_automation_of_the_docs_calls_when_a_node_stays_down(
    calls: tuple[str, queue.Queue[str]],
) -> None:
    url, came = calls
    block = CustomWebhookNotificationBlock(
        name="page me", url=url, json_data={"subject": "{{subject}}", "body": "{{body}}"}
    )
    block_id = block.save("page-me", overwrite=True)
    (text,) = [text for text in AUTOMATIONS if f"{PREFIX}.node.down" in text]
    assert "within: 600" in text
    text = text.replace("within: 600", "within: 10").replace(
        "00000000-0000-0000-0000-000000000000", str(block_id)
    )
    with nodes({}, {}) as (well, ill), get_client(sync_client=True) as client:
        made = client.create_automation(AutomationCore.model_validate(yaml.safe_load(text)))
        try:
            ill.control(models=["bge-m3"])
            check_nodes([well.url, ill.url])
            told = came.get(timeout=90)
        finally:
            client.delete_automation(made)
    assert f"{ill.url.removeprefix('http://')} is down" in told
    assert "last seen by check 2 nodes" in told
