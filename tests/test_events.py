"""The project's events, on the feed of a real Prefect server."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from prefect import flow
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_ollama.tasks.monitoring.events import MAX_VALUE_CHARACTERS, emit, settle_nodes
from tests import feed

pytestmark = pytest.mark.usefixtures("prefect_server")


def in_flow(what: Callable[[], object]) -> str:
    """Run something in a flow; return the flow run's id."""

    @flow(name="emits")
    def emits() -> str:
        what()
        return str(flow_run.id)

    return emits()


def test_an_event_names_its_resource_and_its_flow_run() -> None:
    ran = in_flow(
        lambda: emit("document.failed", "d41d8", label="a/b.pdf", reason="it is torn. " * 500, pages=3)
    )
    (event,) = feed.of_run(ran, 1)
    assert event.event == "prefect-ollama.document.failed"
    assert event.resource.id == "prefect-ollama.document.d41d8"
    assert event.resource.name == "a/b.pdf"
    assert event.payload == {"reason": ("it is torn. " * 500)[: MAX_VALUE_CHARACTERS - 1] + "…", "pages": 3}
    assert {each.role for each in event.related} >= {"flow-run", "flow"}


def test_an_event_too_large_for_the_feed_fails_nothing() -> None:
    assert emit("run.published", "r", what=["x" * 1000] * 3000) is None


@pytest.mark.slow
def test_a_node_is_told_of_when_it_changes_and_not_again() -> None:
    left, right = f"left-{uuid4().hex}", f"http://right-{uuid4().hex}:11434"

    runs: list[str] = []

    def told(ready: list[str], down: dict[str, str], count: int) -> list[tuple[str, str, object]]:
        runs.append(in_flow(lambda: settle_nodes(ready, down)))
        return [
            (event.event, event.resource.id, event.payload.get("reason"))
            for event in feed.of_run(runs[-1], count)
        ]

    assert told([left, right], {}, 0) == []
    assert told([left], {right: "refused"}, 1) == [
        ("prefect-ollama.node.down", f"prefect-ollama.node.{right}", "refused")
    ]
    assert told([], {right: "refused", left: "gone"}, 1) == [
        ("prefect-ollama.node.down", f"prefect-ollama.node.{left}", "gone")
    ]
    assert told([right], {left: "gone"}, 1) == [
        ("prefect-ollama.node.back", f"prefect-ollama.node.{right}", None)
    ]
    assert told([left, right], {}, 1) == [("prefect-ollama.node.back", f"prefect-ollama.node.{left}", None)]
    assert told([left, right], {}, 0) == []
    assert [len(feed.of_run(run, 0)) for run in runs] == [0, 1, 1, 1, 1, 0]


def test_a_server_that_is_away_fails_nothing() -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        settle_nodes(["a"], {})
