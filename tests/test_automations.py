"""The automations in `deployments/automations/`: one for each event, and a real server takes and runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args
from uuid import UUID, uuid4

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from prefect_ollama.tasks.events import PREFIX, EventName

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
