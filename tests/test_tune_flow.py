"""Tuning as a user starts it: what is measured, shown, and saved in the nodes' blocks without harming them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import orjson
import pytest

from prefect_ollama import render
from prefect_ollama.blocks import OllamaCluster, OllamaNode
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.nodes import ClusterSpec, Fingerprint, ModelSpec, NodeSpec, VerifiedCluster
from prefect_ollama.blocks.printable import escape_markdown
from prefect_ollama.blocks.quantity import quantity
from prefect_ollama.blocks.saved_nodes import save_limits
from prefect_ollama.flows import NodeTuning, tune, tune_nodes
from prefect_ollama.tasks.reporting import tuning_markdown, tuning_sections
from prefect_ollama.tasks.reporting.tuning_report import BAR
from prefect_ollama.tasks.tuning import Point, Tuning
from tests.flow_samples import latest_artifact
from tests.nodes import Node, nodes
from tests.test_commands import shown

SECRET = "s3cret-" + "x" * 20

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Node]]:
    quick = {"dimension": 16, "pool": 8}
    with nodes({**quick, "texts_per_second": 400, "slots": 2}, {**quick, "texts_per_second": 200}) as started:
        yield started


@pytest.fixture
def name() -> str:
    return f"tuned-{uuid.uuid4().hex[:8]}"


@pytest.mark.slow
def test_what_is_found_is_shown_and_saved_where_there_is_a_block(
    pair: list[Node], name: str, prefect_server: str
) -> None:
    saved, plain = pair
    saved.control(headers={"authorization": f"Bearer {SECRET}"})
    block = OllamaNode(
        url=saved.url, token=SECRET, headers={"X-A": SECRET}, read_timeout=77, max_in_flight=64
    )
    block.save(name)
    OllamaCluster(nodes=[name, plain.url]).save(name)
    try:
        rows = tune_nodes(name, seconds=12, tokens=50, longest=0.2)
    finally:
        saved.heal()
    assert [row.ok for row in rows] == [True, True]
    first, second = rows
    assert (first.name, first.saved, first.note) == (name, True, "")
    assert (first.in_flight_before, first.request_texts_before) == (64, 128)
    assert (second.saved, second.in_flight) == (False, second.tuning.chosen.in_flight)  # type: ignore[union-attr]
    assert "no saved block" in second.note
    assert f"OllamaNode(url='{plain.url}', max_in_flight={second.in_flight}" in second.note

    after = OllamaNode.load(name)
    assert (after.max_in_flight, after.max_request_texts) == (first.in_flight, first.request_texts)
    assert after.token is not None
    assert after.token.get_secret_value() == SECRET
    assert after.headers.get_secret_value() == {"X-A": SECRET}
    assert (after.url, after.read_timeout) == (saved.url, 77)

    page = latest_artifact(prefect_server, "tuning")
    assert page.count("](data:image/svg+xml;base64,") == 2
    setting = f"{quantity(first.in_flight, 'request')} of {quantity(first.request_texts, 'text')}"
    assert f"**{name}**: {setting} at once" in page
    assert f"**{setting}**: {first.texts_per_second:.1f} texts/s, p95 {first.p95:.2f} s ◂" in page
    assert SECRET not in page
    assert SECRET not in repr(rows)
    assert orjson.loads(orjson.dumps(first.to_dict()))["points"][0]["in_flight"] == 1


@pytest.mark.slow
def test_nothing_is_saved_unasked_and_a_node_that_fails_does_not_stop_the_others(
    pair: list[Node], name: str
) -> None:
    OllamaNode(url=pair[0].url, max_in_flight=9).save(name)
    pair[1].control(models=["bge-m3"])
    try:
        working, failing = tune_nodes([name, pair[1].url], seconds=12, tokens=50, longest=0.2, save=False)
        (alone,) = tune_nodes([pair[1].url], seconds=1)
    finally:
        pair[1].heal()
    assert (working.ok, working.saved, working.note) == (True, False, "")
    assert OllamaNode.load(name).max_in_flight == 9
    for row in (failing, alone):
        assert (row.ok, row.points, row.tuning) == (False, (), None)
        assert "does not have the model" in row.note


def test_a_block_that_was_changed_or_deleted_meanwhile_stays_as_it_is(name: str) -> None:
    OllamaNode(url="http://gpu:11434", max_in_flight=9).save(name)
    spec = OllamaNode.load(name).to_spec()
    OllamaNode(url="http://gpu:11434", max_in_flight=5, token=SECRET).save(name, overwrite=True)
    with pytest.raises(
        ConfigurationError, match=r"was changed while its node was measured \(max_in_flight\)"
    ):
        save_limits(spec, max_in_flight=2, max_request_texts=8)
    assert OllamaNode.load(name).max_in_flight == 5
    # Another field is no reason to refuse, and is kept.
    spec = OllamaNode.load(name).to_spec()
    OllamaNode(url="http://gpu:11434", max_in_flight=5, token=f"{SECRET}-2").save(name, overwrite=True)
    save_limits(spec, max_in_flight=2, max_request_texts=8)
    after = OllamaNode.load(name)
    assert (after.max_in_flight, after.max_request_texts) == (2, 8)
    assert after.token is not None
    assert after.token.get_secret_value() == f"{SECRET}-2"
    OllamaNode.delete(name)
    with pytest.raises(ConfigurationError, match="no Ollama Node block"):
        save_limits(spec, max_in_flight=2, max_request_texts=8)


@pytest.mark.slow
def test_values_that_were_not_explored_are_not_saved(name: str) -> None:
    with nodes({"texts_per_second": 3}) as (slow,):
        OllamaNode(url=slow.url, max_in_flight=9, max_request_texts=77).save(name)
        (row,) = tune_nodes([name], seconds=1, tokens=50)
    assert (row.ok, row.saved) == (True, False)
    assert (
        "The time of 1 s was too short to explore the requests at once and the texts in a request" in row.note
    )
    assert "9 requests at once and 77 texts in a request stay" in row.note
    after = OllamaNode.load(name)
    assert (after.max_in_flight, after.max_request_texts) == (9, 77)


@pytest.mark.slow
def test_one_reason_is_given_for_what_is_not_saved() -> None:
    with nodes({"texts_per_second": 3}) as (slow,):
        (row,) = tune_nodes([slow.url], seconds=1, tokens=50)
    assert "The time of 1 s was too short" in row.note
    assert "saved" not in row.note


@pytest.mark.parametrize("explored", [False, True], ids=["size alone", "both"])
def test_a_block_that_could_not_be_saved_is_the_only_reason(
    explored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (point,) = (Point(2, 8, 100.0, 0.1, 0.1, 1.0),)
    tuning = Tuning((point,), point, in_flight_explored=explored)
    monkeypatch.setattr(tune, "tune_node", lambda *_, **__: tuning)
    monkeypatch.setattr(tune, "save_tuning", lambda *_, **__: "It has no block, so nothing was saved.")
    reference = Fingerprint.measured(["a"], np.ones((1, 1), np.float32))
    node = NodeSpec.at("http://a")
    cluster = VerifiedCluster(ClusterSpec((node,), ModelSpec("m")), reference, {})
    row = tune._tune_one(node, cluster, 200, 2, 5, True)
    assert row.note.endswith("It has no block, so nothing was saved.")
    assert row.note.count("saved") == 1
    assert ("requests at once" in row.note) != explored


@pytest.mark.slow
def test_a_node_with_another_digest_and_equal_vectors_is_measured(pair: list[Node]) -> None:
    pair[1].control(digest="f" * 64)
    try:
        rows = tune_nodes([each.url for each in pair], seconds=1)
    finally:
        pair[1].heal()
    assert [row.ok for row in rows] == [True, True]


ROWS = [
    NodeTuning(
        "gpu-box",
        "http://gpu-box:11434",
        2,
        16,
        1234.56,
        0.123,
        16,
        128,
        (Point(1, 1, 100.0, 0.01, 0.02, 1.0), Point(2, 16, 1234.56, 0.1, 0.123, 2.0)),
        saved=True,
    ),
    NodeTuning("a|b <i>", "http://a", note="Node 'a|b <i>': cannot be connected."),
]


def test_terminal_and_page_show_the_same_values() -> None:
    text, page = shown(render.tuning(ROWS)), tuning_markdown(ROWS, "m|x")
    assert max(map(len, text.splitlines())) <= 80
    for section in tuning_sections(ROWS):
        for item in section.items:
            for each in (item.text, *item.below) if not section.columns else item.cells[:2]:
                assert each in text
                assert escape_markdown(each) in page
    assert "gpu-box: 2 requests of 16 texts at once, 1234.6 texts/s, p95 0.12 s" in text
    assert "saved; before: at most 16 requests of 128 texts" in text
    assert "a|b <i>: not measured" in text
    assert "1 request of 1 text " in text
    assert "**1 request of 1 text**: 100.0 texts/s, p95 0.02 s\n" in page
    (chosen,) = [line for line in text.splitlines() if "◂" in line]
    assert chosen.count("█") == BAR
    assert page.count("◂") == 1
    # Without room for the bars the numbers stay.
    narrow = shown(render.tuning(ROWS), 50)
    assert "█" not in narrow
    assert "1234.6    0.12" in narrow


def test_what_names_hold_does_not_break_the_page() -> None:
    odd = replace(ROWS[0], name="c|d <b>")
    page = tuning_markdown([*ROWS, odd], "m|x")
    assert r"- **a\|b &lt;i&gt;**: not measured" in page
    assert "### gpu-box" in page
    assert r"### c\|d &lt;b&gt;" in page
    assert page.count("data:image/svg+xml") == 2
