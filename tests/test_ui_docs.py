"""The automations that docs/ui.md shows, on a real Prefect server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import AutomationCore

from prefect_ollama.tasks.events import PREFIX

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
