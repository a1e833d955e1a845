"""Which nodes serve, and what is said of those that do not."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator

import pytest
from prefect import flow

from prefect_ollama.blocks import OllamaCluster, OllamaNode
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.commands import app
from prefect_ollama.flows import check_nodes
from prefect_ollama.tasks.embedding.start_nodes import EMBEDDED_MODEL, running_nodes
from tests import feed
from tests.flow_samples import MODEL, latest_artifact
from tests.nodes import Node, nodes

pytestmark = pytest.mark.usefixtures("prefect_server", "all_nodes_take_part")


@pytest.fixture(scope="module")
def running() -> Iterator[list[Node]]:
    with nodes({}, {}, {}) as running:
        yield running


@pytest.fixture
def trio(running: list[Node]) -> list[Node]:
    for node in running:
        node.heal()
        node.reset()
    return running


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port of this host at which nobody answers, and nobody else can listen meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def no_ollama(monkeypatch: pytest.MonkeyPatch, dead_port: int) -> None:
    """No node is configured, and none answers where an Ollama of this host would."""
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    monkeypatch.setattr("prefect_ollama.blocks.resolve.DEFAULT_URL", f"http://127.0.0.1:{dead_port}")


def test_all_nodes_that_can_work_are_ready(trio: list[Node]) -> None:
    rows = check_nodes([node.url for node in trio])
    assert [row.ok for row in rows] == [True] * 3
    assert [row.name for row in rows] == [node.url.removeprefix("http://") for node in trio]
    assert all(row.version and len(row.digest) == 64 and row.texts_per_second > 0 for row in rows)
    assert all(row.to_dict()["ok"] for row in rows)


def test_each_row_says_what_the_node_has_and_where_the_model_is(
    trio: list[Node], prefect_server: str
) -> None:
    gpu, cpu, silent = trio
    gpu.control(models=[MODEL, "bge-m3"])
    cpu.control(on_gpu=0.0)
    silent.control(faults=[{"name": "http500", "paths": ["/api/ps"]}])
    rows = check_nodes([node.url for node in trio])
    assert [row.ok for row in rows] == [True] * 3
    assert rows[0].models == ("bge-m3:latest", f"{MODEL}:latest")
    assert (rows[0].vram, rows[0].context) == (rows[0].memory, 2048)
    assert [row.in_memory for row in rows] == [
        "44 MiB, all on the GPU",
        "44 MiB, none on a GPU",
        "unknown",
    ]
    assert rows[0].loaded_until.startswith("2026-")
    shown = latest_artifact(prefect_server, "nodes")
    assert re.findall(r"in memory: (.*)", shown) == [row.in_memory for row in rows]
    assert re.findall(r"until: (.*)", shown)[2] == "unknown"


def test_each_node_that_can_not_work_has_its_own_cause(trio: list[Node], dead_port: int) -> None:
    lacking, other, _ = trio
    lacking.control(models=["bge-m3"])
    other.control(faults=["other_weights"])
    urls = [trio[2].url, lacking.url, f"http://127.0.0.1:{dead_port}"]
    ready, *left_out = check_nodes(urls)
    assert ready.ok
    assert [row.ok for row in left_out] == [False, False]
    assert "does not have the model" in left_out[0].error
    assert "ollama pull" in left_out[0].error
    assert left_out[0].models == ("bge-m3:latest",)
    assert left_out[0].in_memory == "not loaded"
    assert left_out[1].error
    assert (left_out[1].version, left_out[1].in_memory) == ("", "unknown")
    # Of two that differ the first configured one counts.
    first, second = check_nodes([trio[2].url, other.url])
    assert (first.ok, second.ok) == (True, False)
    assert second.error


@pytest.mark.slow
def test_each_row_says_whether_the_node_can_chat_and_judge(
    prefect_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with nodes({"chat_models": ["qwen3"]}, {}) as pair:
        named = [node.url.removeprefix("http://") for node in pair]
        OllamaCluster(nodes=[node.url for node in pair], chat_model="qwen3", judge_model="bespoke").save(
            "chatting", overwrite=True
        )
        able, unable = check_nodes("chatting")
        assert (able.ok, unable.ok) == (True, True)
        assert (able.chat_model, able.chat_error) == ("qwen3", "")
        assert "does not have the model 'qwen3'" in unable.chat_error
        assert "'bespoke'" in able.judge_error
        assert "'bespoke'" in unable.judge_error
        shown = latest_artifact(prefect_server, "nodes")
        assert re.findall(r"chats with: (.*)", shown) == ["qwen3", "no"]
        assert "Cannot judge with bespoke" in shown

        # No node can judge, so the command says by its status that the cluster cannot do all that it names.
        assert app(["nodes", "--cluster", "chatting", "--json"], result_action="return_value") == 1
        rows = json.loads(capsys.readouterr().out)
        assert [(row["name"], row["ok"], bool(row["chat_note"])) for row in rows] == [
            (named[0], True, False),
            (named[1], True, True),
        ]
        OllamaCluster(nodes=[node.url for node in pair], chat_model="qwen3").save("chatting", overwrite=True)
        assert app(["nodes", "--cluster", "chatting"], result_action="return_value") == 0
        assert "qwen3" in capsys.readouterr().out


@pytest.mark.slow
def test_chat_models_of_urls_are_checked_and_each_row_names_the_own_one(
    prefect_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with nodes({"chat_models": ["qwen3"]}, {"chat_models": ["llama3.2", "tiny"]}, {}) as trio:
        urls = [node.url for node in trio]
        first, second, third = check_nodes(
            urls, chat_model="qwen3", other_chat_models=["llama3.2"], judge_model="qwen3"
        )
        assert [(row.chat_model, row.chat_error) for row in (first, second)] == [
            ("qwen3", ""),
            ("llama3.2", ""),
        ]
        assert third.chat_model == "qwen3"
        assert "does not have the model 'qwen3'" in third.chat_error
        # A node that answers with another model than the judge model does not judge.
        assert first.judge_error == ""
        assert "does not have the model 'qwen3'" in second.judge_error
        shown = latest_artifact(prefect_server, "nodes")
        assert re.findall(r"chats with: (.*)", shown) == ["qwen3", "llama3.2", "no"]

        command = ["nodes", *(f"--node={url}" for url in urls), "--chat-model=tiny", "--json"]
        assert app(command, result_action="return_value") == 0
        rows = json.loads(capsys.readouterr().out)
        assert [bool(row["chat_note"]) for row in rows] == [True, False, True]
        assert "--chat-model" in rows[0]["chat_note"]
        more = ["--other-chat-model=qwen3", "--judge-model=absent"]
        assert app([*command, *more], result_action="return_value") == 1
        rows = json.loads(capsys.readouterr().out)
        assert [row["chat_model"] for row in rows] == ["qwen3", "tiny", "tiny"]
        assert all(row["judge_note"] for row in rows)


@pytest.mark.slow
def test_a_node_that_is_left_out_and_then_ready_again_is_told_of() -> None:
    with nodes({}, {}) as pair:

        def told(count: int) -> list[str]:
            state = check_nodes([node.url for node in pair], return_state=True)
            found = feed.of_run(state.state_details.flow_run_id, count)
            return [f"{event.event} {event.resource.name}" for event in found]

        name = pair[1].url.removeprefix("http://")
        pair[1].control(models=["bge-m3"])
        assert told(1) == [f"prefect-ollama.node.down {name}"]
        assert told(0) == []
        pair[1].heal()
        assert told(1) == [f"prefect-ollama.node.back {name}"]


def test_where_no_node_works_all_rows_say_why(trio: list[Node]) -> None:
    for node in trio:
        node.control(models=[])
    rows = check_nodes([node.url for node in trio])
    assert [row.ok for row in rows] == [False] * 3
    assert all("does not have the model" in row.error for row in rows)


def test_saved_blocks_are_found_by_name(trio: list[Node]) -> None:
    OllamaNode(url=trio[0].url).save("flow-first", overwrite=True)
    OllamaCluster(nodes=["flow-first", trio[1].url], model=MODEL).save("flow-pair", overwrite=True)
    assert [row.name for row in check_nodes("flow-pair")] == [
        "flow-first",
        trio[1].url.removeprefix("http://"),
    ]
    assert [row.name for row in check_nodes(["flow-first"])] == ["flow-first"]
    with pytest.raises(ConfigurationError, match="no-such-cluster"):
        check_nodes("no-such-cluster")
    with pytest.raises(ConfigurationError, match="no-such-node"):
        check_nodes(["no-such-node"])


@flow
def serve(model: str | None = None) -> tuple[str, list[str]]:
    with running_nodes(None, model=model, count=1) as spec:
        return spec.model.name, [node.name for node in spec.nodes]


def test_ollama_host_is_used_and_never_replaced(
    trio: list[Node], monkeypatch: pytest.MonkeyPatch, dead_port: int
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", trio[0].url)
    (row,) = check_nodes()
    assert row.ok
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{dead_port}")
    (row,) = check_nodes()
    assert not row.ok
    assert row.name == f"127.0.0.1:{dead_port}"
    monkeypatch.setenv("OLLAMA_HOST", "ftp://nonsense")
    with pytest.raises(ConfigurationError, match="OLLAMA_HOST"):
        check_nodes()


@pytest.mark.usefixtures("no_ollama")
def test_an_ollama_on_this_host_is_used_unasked(trio: list[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_ollama.blocks.resolve.DEFAULT_URL", trio[0].url)
    assert serve() == (MODEL, [trio[0].url.removeprefix("http://")])


@pytest.mark.usefixtures("no_ollama")
def test_the_embedded_model_serves_only_where_nobody_else_does_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert serve() == (EMBEDDED_MODEL, ["embedded-1"])
    (line,) = [record.getMessage() for record in caplog.records if "embedded model" in record.getMessage()]
    assert "No Ollama node is configured and none answers" in line
    assert "\n" not in line


@pytest.mark.usefixtures("no_ollama")
@pytest.mark.parametrize("model", ["bge-m3", MODEL])
def test_the_embedded_model_does_not_pass_for_another(model: str) -> None:
    with pytest.raises(ConfigurationError, match="the embedded model is not") as caught:
        serve(model)
    assert "Start Ollama" in caught.value.remedy
