"""The blocks as values: accepted and refused fields, hidden secrets, and checks of real nodes over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import cloudpickle
import lancedb
import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from pydantic import ValidationError

import prefect_ollama.blocks
from prefect_ollama.blocks import LanceTable, OllamaCluster, OllamaNode, OpenAICompatibleNode, types
from prefect_ollama.blocks.base import field_errors
from prefect_ollama.blocks.cache import CacheSpec
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.blocks.nodes import ChatModelSpec, ClusterSpec
from prefect_ollama.blocks.resolve import resolve_cluster, resolve_table
from prefect_ollama.options import TableOptions
from tests.nodes import Node, nodes
from tests.store_samples import IDENTITY, embedded, sentences
from tests.test_discover import Listener

MODEL = "nomic-embed-text"
SECRET = "s3cret-" + "x" * 20


@pytest.fixture(scope="module")
def two() -> Iterator[list[Node]]:
    with nodes({"dimension": 16}, {"dimension": 16}) as started:
        yield started


@pytest.fixture
def node(two: list[Node]) -> Iterator[Node]:
    """A healthy node; what a test changes is undone."""
    yield two[0]
    two[0].heal()


@pytest.fixture
def pair(two: list[Node]) -> Iterator[list[Node]]:
    yield two
    for each in two:
        each.heal()


@pytest.fixture(scope="module")
def tls_node() -> Iterator[Node]:
    with Node(tls=True, prefix="/ollama") as started:
        yield started


@pytest.fixture
def nowhere() -> str:
    """URL at which nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{held.getsockname()[1]}"


# Prefect's standards


class TestStandards(BlockStandardTestSuite):
    """Over every block that Prefect's entry point shows."""

    @pytest.fixture(params=types.__all__)
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        return getattr(types, request.param)  # type: ignore[no-any-return]

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        # In place of Prefect's own, which fetches the picture: tests reach nothing but this host.
        assert block._logo_url is not None
        assert block._logo_url.scheme == "https"

    def test_every_field_has_a_title_and_a_place_in_the_form(self, block: type[Block]) -> None:
        properties = block.model_json_schema()["properties"]
        assert [each["position"] for each in properties.values()] == list(range(len(properties)))
        assert all(each["title"] and each["description"] for each in properties.values())

    def test_a_field_is_required(self, block: type[Block]) -> None:
        # Prefect refuses a block without one as a parameter of a flow.
        assert block.model_json_schema()["required"]


def test_blocks_are_imported_when_asked_for() -> None:
    code = (
        "import sys, prefect_ollama.blocks as b, prefect_ollama.blocks.nodes._ollama\n"
        "assert set(b.__all__) <= set(dir(b))\n"
        "assert 'prefect' not in sys.modules\n"
        "from prefect_ollama.blocks import OllamaNode\n"
        "assert 'prefect' in sys.modules and OllamaNode is b.OllamaNode"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
    assert [n for n in prefect_ollama.blocks.__all__ if not hasattr(prefect_ollama.blocks, n)] == []
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = prefect_ollama.blocks.Nothing


# OllamaNode


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"url": "ftp://gpu"}, "url", "http:// or https://"),
        ({"url": f"http://me:{SECRET}@gpu"}, "url", "fields of their own"),
        ({"token": "two words"}, "token", "one word"),
        ({"token": "********"}, "token", "mask"),
        ({"password": SECRET}, "", "user name"),
        ({"token": SECRET, "username": "me"}, "", "not both"),
        ({"token": SECRET, "headers": {"authorization": SECRET}}, "", "give one"),
        ({"headers": {"a b": SECRET}}, "headers", "name of a header"),
        ({"headers": {"X-Key": f"{SECRET}\r\nX-Other: 1"}}, "headers", "one line"),
        ({"headers": {"Content-Length": "3"}}, "headers", "client itself"),
        ({"ca_bundle": "/ca.pem", "verify": False}, "", "has no effect"),
        ({"connect_timeout": 0}, "connect_timeout", "greater than 0"),
        ({"max_in_flight": 0}, "max_in_flight", "greater than or equal to 1"),
    ],
)
def test_a_wrong_node_is_refused_at_its_field(values: dict[str, object], field: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        OllamaNode(**{"url": "http://gpu:11434", **values})
    (error,) = caught.value.errors()
    assert error["loc"] == ((field,) if field else ())
    assert words in error["msg"]
    assert SECRET not in str(caught.value)


def test_a_node_becomes_what_the_machinery_works_with() -> None:
    node = OllamaNode(
        url="gpu-box",
        token=f"Bearer {SECRET}",
        headers={"X-Team": "blue"},
        ca_bundle=" ",
        read_timeout=20,
        max_in_flight=4,
    )
    spec = node.to_spec()
    assert (spec.name, spec.url, spec.ca_bundle) == ("gpu-box:11434", "http://gpu-box:11434", "")
    assert (spec.read_timeout, spec.max_in_flight) == (20, 4)
    assert {name: value.get_secret_value() for name, value in spec.headers} == {
        "Authorization": f"Bearer {SECRET}",
        "X-Team": "blue",
    }
    assert node.to_spec("gpu").name == "gpu"


def test_a_check_finds_a_healthy_node(node: Node) -> None:
    node.control(models=["nomic-embed-text", "all-minilm"], version="0.31.2")
    found = OllamaNode(url=node.url).check()
    assert found.ok
    assert not found.error
    assert found.version == "0.31.2"
    assert found.models == ("all-minilm:latest", "nomic-embed-text:latest")
    assert found.latency is not None
    assert 0 < found.latency < 60


def test_a_check_works_in_async_code(node: Node) -> None:
    async def both() -> None:
        block = OllamaNode(url=node.url)
        assert (await block.acheck()).ok
        assert block.check().ok

    asyncio.run(both())


@pytest.mark.parametrize(
    ("wants", "has"),
    [
        ({"authorization": f"Bearer {SECRET}"}, {"token": SECRET}),
        (
            {"authorization": "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()},
            {"username": "me", "password": SECRET},
        ),
        ({"x-api-key": SECRET, "x-team": "blue"}, {"headers": {"X-Api-Key": SECRET, "X-Team": "blue"}}),
    ],
)
def test_a_node_shows_its_credentials(node: Node, wants: dict[str, str], has: dict[str, object]) -> None:
    node.control(headers=wants)
    block = OllamaNode(url=node.url, **has)
    assert block.check().ok
    without = OllamaNode(url=node.url).check()
    assert not without.ok
    assert "credentials" in without.error
    assert "token or password" in without.error
    node.control(headers={"authorization": "Bearer another"})
    refused = block.check()
    assert not refused.ok
    assert SECRET not in repr(refused)


def test_a_node_behind_a_path(node: Node) -> None:
    node.control(prefix="/gpu/ollama")
    assert OllamaNode(url=f"{node.url}/gpu/ollama/").check().ok
    found = OllamaNode(url=node.url).check()
    assert not found.ok
    assert "path prefix" in found.error


def test_a_node_that_redirects(node: Node) -> None:
    node.control(faults=[{"name": "redirect", "paths": ["*"], "location": "https://sso.example/login"}])
    found = OllamaNode(url=node.url).check()
    assert not found.ok
    assert "https://sso.example/login" in found.error


def test_what_is_no_ollama_is_said_to_be_none(node: Node) -> None:
    node.control(faults=[{"name": "html", "paths": ["*"]}])
    found = OllamaNode(url=node.url).check()
    assert not found.ok
    assert "not Ollama's" in found.error
    node.control(faults=[], version="")
    found = OllamaNode(url=node.url).check()
    assert not found.ok
    assert "no version" in found.error


def test_an_unreachable_node_is_a_result(nowhere: str) -> None:
    found = OllamaNode(url=nowhere).check("gpu")
    assert not found.ok
    assert found.name == "gpu"
    assert "cannot be connected" in found.error
    assert "Check that it runs" in found.error


def test_a_url_that_cannot_be_right_is_put_down_to_it(node: Node) -> None:
    """Not to a node that is down."""
    for url, words in (
        ("http://no-such-host.invalid", "Check the host name in its URL."),
        (node.url + "/there", "The URL of a server of the OpenAI API ends in /v1."),
    ):
        found = OllamaCluster(nodes=[url]).check().nodes[0].error
        assert words in found
        assert "Check that it runs" not in found
    plain = Listener("127.0.0.1", answer=b"HTTP/1.0 400 Bad Request\r\n\r\n")
    try:
        found = OllamaNode(url=f"https://127.0.0.1:{plain.port}", connect_timeout=60).check().error
    finally:
        plain.close()
    assert "write http:// in place of https://" in found


def test_a_private_authority(tls_node: Node, tmp_path: Path) -> None:
    url = tls_node.url
    assert OllamaNode(url=url, ca_bundle=tls_node.ca_file).check().ok
    unknown = OllamaNode(url=url).check()
    assert not unknown.ok
    assert "certificate" in unknown.error.lower()
    assert "set *CA bundle* in the node's block" in unknown.error
    missing = OllamaNode(url=url, ca_bundle=str(tmp_path / "none.pem")).check()
    assert not missing.ok
    assert "none.pem" in missing.error


def test_an_unchecked_certificate_is_warned_of_at_use(
    tls_node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    block = OllamaNode(url=tls_node.url, verify=False)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert block.check("lab").ok
    assert "certificate of node 'lab' is not verified" in caplog.text


# OllamaCluster


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"nodes": []}, "nodes", "at least 1"),
        ({"nodes": ["GPU box"]}, "nodes.0", "neither a block's name"),
        ({"nodes": ["http://a", f"http://me:{SECRET}@b"]}, "nodes.1", "OllamaNode"),
        ({"nodes": [7]}, "nodes.0", "name of a saved"),
        ({"model": "two words"}, "model", "one word"),
        ({"num_ctx": 1}, "num_ctx", "16"),
        ({"keep_alive": "soon"}, "keep_alive", "30m"),
        ({"keep_alive": 0}, "keep_alive", "every request"),
        ({"give_up_after": -1}, "give_up_after", "greater than 0"),
        ({"chat_model": "two words"}, "chat_model", "one word"),
        ({"judge_model": "two words"}, "judge_model", "one word"),
        ({"other_chat_models": ["two words"]}, "other_chat_models", "one word"),
        ({"chat_num_ctx": 16}, "chat_num_ctx", "512"),
        ({"chat_options": {"num_ctx": 4096}}, "chat_options", "Chat context"),
        ({"chat_options": {"num_predict": 9}}, "chat_options", "each request"),
        ({"chat_think": "often"}, "chat_think", "'auto', 'on' or 'off'"),
    ],
)
def test_a_wrong_cluster_is_refused_at_its_field(values: dict[str, object], field: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        OllamaCluster(**{"nodes": ["gpu"], **values})
    assert f"field {field!r}" in field_errors(caught.value)
    assert words in field_errors(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "sent"), [("30m", "30m"), ("-1", "-1s"), (300, "300s"), ("1h30m", "1h30m"), ("-1s", "-1s")]
)
def test_keep_alive_reaches_ollama_as_a_duration(given: object, sent: str) -> None:
    assert OllamaCluster(nodes=["gpu"], keep_alive=given).model_spec().keep_alive == sent


def test_prefixes_are_the_models_own_unless_named() -> None:
    def prefixes(**values: str) -> tuple[str, str]:
        spec = OllamaCluster(nodes=["gpu"], **values).model_spec()
        return spec.document_prefix, spec.query_prefix

    assert prefixes() == ("search_document: ", "search_query: ")
    assert prefixes(model="all-minilm") == ("", "")
    assert prefixes(document_prefix="", query_prefix="none") == ("", "")
    assert prefixes(model="mine", query_prefix="q: ") == ("", "q: ")


def test_a_chat_model_has_settings_of_its_own() -> None:
    def spec(**values: Any) -> ClusterSpec:
        return OllamaCluster(nodes=["http://a"], **values).to_spec()

    assert spec().chat is spec().judge is None
    assert spec(chat_model=" ").chat is None  # a field that was emptied in the form
    given = {"temperature": 0.2, "stop": ["###"]}
    full = spec(chat_model="qwen3:8b", chat_num_ctx=4096, chat_options=given, chat_think="off")
    assert full.chat is not None
    assert full.chat.all_options == {"temperature": 0.2, "stop": ("###",), "num_ctx": 4096}
    assert full.chat.think is False
    assert spec(chat_model="qwen3", chat_think="on").chat.think is True  # type: ignore[union-attr]
    assert spec(chat_model="qwen3").chat.think is None  # type: ignore[union-attr]
    # The same model under another of its names is the same judge, with the same settings.
    assert spec(chat_model="qwen3", chat_num_ctx=4096, judge_model="qwen3:latest").judge == ChatModelSpec(
        "qwen3", 4096
    )
    assert spec(judge_model="llama3.2").judge == ChatModelSpec("llama3.2")
    # Without a chat model the first of the others is used as such.
    assert full.other_chats == spec(other_chat_models=["llama3.2"]).other_chats == ()
    assert spec(other_chat_models=["llama3.2"]).chat == ChatModelSpec("llama3.2")
    several = spec(chat_model="qwen3", chat_num_ctx=4096, other_chat_models=["llama3.2", " ", "qwen3:latest"])
    assert several.other_chats == (ChatModelSpec("llama3.2", 4096),)
    assert pickle.loads(pickle.dumps(full)) == full
    assert hash(full.chat)


def test_a_check_says_which_nodes_can_chat(nowhere: str) -> None:
    with nodes({"dimension": 16, "chat_models": ["qwen3"]}, {"dimension": 16}) as pair:
        urls = [each.url for each in pair]
        found = OllamaCluster(nodes=urls, chat_model="qwen3", judge_model="qwen3").check()
        assert found.ok  # a node without the chat model embeds all the same
        assert found.chat is not None
        assert (found.chat.usable, len(found.chat.nodes), found.chat.context) == (True, 1, 8192)
        [cause] = found.chat.left_out.values()
        assert "does not have the model 'qwen3'" in cause
        assert "--chat-model" in cause
        assert found.judge == found.chat

        found = OllamaCluster(nodes=urls, chat_model="qwen3", judge_model="llama3.2").check()
        assert found.judge is not None
        assert (found.judge.usable, found.judge.nodes) == (False, ())
        assert "No node can chat with 'llama3.2'" in found.judge.error
        assert len(found.judge.left_out) == 2

        found = OllamaCluster(
            nodes=urls, chat_model="absent", other_chat_models=["qwen3"], judge_model="absent"
        ).check()
        assert found.chat is not None
        assert (found.chat.usable, found.chat.error) == (True, "")
        assert dict(found.chat.others) == {found.nodes[0].name: "qwen3"}
        assert [found.chat.model_of(row.name) for row in found.nodes] == ["qwen3", "absent"]
        assert found.chat.error_of(found.nodes[0].name) == ""
        assert "'absent'" in found.chat.error_of(found.nodes[1].name)
        assert found.judge is not None
        assert not found.judge.usable  # no node judges with another model

        found = OllamaCluster(nodes=[urls[0], nowhere]).check()
        assert found.chat is not None
        assert not found.chat.usable
        assert "names no chat model" in found.chat.error
        assert found.judge is None


def test_a_cluster_of_urls_and_unsaved_nodes_needs_no_server(pair: list[Node]) -> None:
    pair[1].control(headers={"authorization": f"Bearer {SECRET}"})
    cluster = OllamaCluster(nodes=[pair[0].url, OllamaNode(url=pair[1].url, token=SECRET)], model=MODEL)
    found = cluster.check()
    assert found.ok
    assert found.usable
    assert found.dimension == 16
    assert [row.url for row in found.nodes] == [pair[0].url, pair[1].url]
    assert all(row.ok and row.version and row.digest == found.digest and row.seconds for row in found.nodes)
    for shown in (
        repr(cluster),
        str(cluster),
        cluster.model_dump_json(),
        repr(found),
        str(cluster.to_spec()),
    ):
        assert SECRET not in shown


def test_a_check_names_each_nodes_cause(pair: list[Node], nowhere: str) -> None:
    pair[1].control(models=["another"])
    found = OllamaCluster(nodes=[pair[0].url, pair[1].url, nowhere]).check()
    assert not found.ok
    assert found.usable
    assert [row.ok for row in found.nodes] == [True, False, False]
    assert not found.nodes[0].error
    assert "does not have the model" in found.nodes[1].error
    assert "ollama pull" in found.nodes[1].error
    assert "cannot be connected" in found.nodes[2].error


def test_other_weights_under_the_same_name_are_found(pair: list[Node]) -> None:
    pair[1].control(weights="b")
    found = OllamaCluster(nodes=[each.url for each in pair]).check()
    assert [row.ok for row in found.nodes] == [True, False]
    assert "another model" in found.nodes[1].error


def test_a_cluster_of_which_no_node_works_is_a_result(pair: list[Node], nowhere: str) -> None:
    pair[0].control(headers={"authorization": "Bearer x"})
    pair[1].control(faults=["nan"])
    found = OllamaCluster(nodes=[pair[0].url, pair[1].url, nowhere]).check()
    assert not found.usable
    assert "No node can embed" in found.error
    assert [row.ok for row in found.nodes] == [False] * 3
    for row, words in zip(found.nodes, ("credentials", "answered", "cannot be connected"), strict=True):
        assert words in row.error
        assert row.name in row.error


def test_a_check_downloads_nothing(node: Node) -> None:
    node.control(models=[])
    (row,) = OllamaCluster(nodes=[node.url]).check().nodes
    assert "*Pull* (`--pull`)" in row.error
    (row,) = OllamaCluster(nodes=[node.url], pull=True).check().nodes
    assert "A run lets it download" in row.error
    assert "/api/pull" not in node.stats()["paths"]


def test_one_node_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Two nodes"):
        OllamaCluster(nodes=["http://gpu:11434", "gpu:11434"]).to_spec()
    with pytest.raises(ConfigurationError, match="Two nodes"):
        OllamaCluster(nodes=["http://0.0.0.0:11434", OllamaNode(url="http://127.0.0.1:11434")]).to_spec()


HERE = ("localhost:9", "http://127.0.0.1:9/", "http://[::ffff:127.0.0.1]:9", "http://LOCALHOST.:9")
HERE_BY_IPV6 = ("localhost:9", "[::1]:9", "http://[0:0::1]:9", "http://ip6-localhost:9")


@pytest.mark.parametrize(
    "names",
    [
        *combinations(HERE, 2),
        *combinations(HERE_BY_IPV6, 2),
        ("http://a", "http://a:80"),
        ("https://a:443", "https://A"),
        ("http://a.example:9", "http://a.example.:9"),
        # An Ollama server has both APIs.
        ("http://gpu:11434", "http://GPU:11434/v1/"),
        ("http://a/ollama", "a:80/ollama/v1"),
        ("http://localhost:9", "http://127.0.0.1:9/v1"),
    ],
)
def test_one_server_under_two_names_is_refused(names: tuple[str, str]) -> None:
    for named in (names, [OllamaNode(url=names[0]), names[1]]):
        with pytest.raises(ConfigurationError, match=r"are one server: '\S+' and '\S+'\.") as caught:
            resolve_cluster(named)
        assert "Name each node once" in caught.value.remedy


def test_two_servers_are_two() -> None:
    urls = [
        "http://127.0.0.1:9",
        "http://[::1]:9",
        "http://localhost:8",
        "http://127.0.0.2:9",
        "http://localhost:9/a",
        "http://a:9",
    ]
    urls += ["http://a:80", "http://a:443", "http://10.0.0.1:9", "http://[fd00::1]:9", "http://a/x/v1"]
    assert len({each.server for each in resolve_cluster(urls).spec.nodes}) == len(urls)
    assert [each.url for each in resolve_cluster(urls).spec.nodes] == urls


# What flows are given


def test_nodes_come_from_what_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    nothing = resolve_cluster()
    assert not nothing.configured
    assert [each.url for each in nothing.spec.nodes] == ["http://127.0.0.1:11434"]
    monkeypatch.setenv("OLLAMA_HOST", "https://gpu-box/ollama")
    variable = resolve_cluster(model="bge-m3")
    assert variable.configured
    assert [each.url for each in variable.spec.nodes] == ["https://gpu-box/ollama"]
    assert variable.spec.model.name == "bge-m3"
    named = resolve_cluster("http://a:1")
    assert [each.url for each in named.spec.nodes] == ["http://a:1"]
    several = resolve_cluster(["http://a:1", OllamaNode(url="http://b:2", max_in_flight=3)])
    assert [each.max_in_flight for each in several.spec.nodes] == [16, 3]
    cluster = OllamaCluster(nodes=["http://a:1"], model="all-minilm", num_ctx=256, query_prefix="q: ")
    assert resolve_cluster(cluster).spec == cluster.to_spec()
    other = resolve_cluster(cluster, model=MODEL).spec.model
    assert (other.name, other.num_ctx, other.document_prefix) == (MODEL, 256, "search_document: ")
    assert other.query_prefix == "q: "
    monkeypatch.setenv("OLLAMA_HOST", f"http://me:{SECRET}@gpu")
    with pytest.raises(ConfigurationError, match="OLLAMA_HOST") as caught:
        resolve_cluster()
    assert SECRET not in str(caught.value)
    with pytest.raises(ConfigurationError, match="empty"):
        resolve_cluster([])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("localhost:port", "The node 'localhost:port' cannot be used: the port 'port' is no number"),
        ("GPU box", "The node 'GPU box' cannot be used: it is neither"),
        (f"http://me:{SECRET}@b", "The node '…b' cannot be used: the address must hold no user name"),
        (f"b:1/?key={SECRET}", "The node 'b:1/…' cannot be used: the address must have no '?'"),
    ],
)
def test_a_wrong_value_is_named_as_it_was_given(given: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve_cluster(["http://a", given])
    assert words in str(caught.value)
    assert "Correct *Cluster* (`--node`)." in str(caught.value)
    for hidden in ("Ollama Cluster", "field '", SECRET):
        assert hidden not in str(caught.value)


def test_a_wrong_model_cluster_or_table_is_named_as_it_was_given(tmp_path: Path) -> None:
    for wrong, words in (
        (lambda: resolve_cluster("http://a:port"), r"'http://a:port' .* \(`--cluster`\)"),
        (
            lambda: resolve_cluster(OllamaCluster(nodes=["http://a"]), model="a b"),
            "The model 'a b' .* one word",
        ),
        (lambda: resolve_cluster(["http://a"], model="a b"), r"one word.* \(`--model`\)"),
        (lambda: resolve_table("ftp://a/b"), r"The table 'ftp://a/b' .* s3://.* \(`--table`\)"),
        (lambda: resolve_table(f"s3://key:{SECRET}@bucket/x"), "The table '…bucket/x' .* no credentials"),
    ):
        with pytest.raises(ConfigurationError, match=words) as caught:
            wrong()
        assert SECRET not in str(caught.value)


# Fields


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        (
            OllamaNode,
            {"url": "http://a", "max_inflight": 3},
            "'max_inflight'; the nearest one is 'max_in_flight'",
        ),
        (
            OpenAICompatibleNode,
            {"url": "http://a/v1", "apikey": SECRET},
            "'apikey'; the nearest one is 'api_key'",
        ),
        (OllamaCluster, {"nodes": ["a"], "num_context": 512}, "'num_context'; the nearest one is 'num_ctx'"),
        (LanceTable, {"uri": "/data", "zzz": 1}, "'zzz'; its fields are uri, table, storage_options"),
    ],
)
def test_an_unknown_field_is_refused(kind: type[Block], values: dict[str, Any], words: str) -> None:
    for make in (lambda: kind(**values), lambda: kind.model_validate(values)):
        with pytest.raises(ValidationError, match=words) as caught:
            make()
        assert SECRET not in str(caught.value)


def test_a_table_comes_from_what_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = Path(os.environ["PREFECT_HOME"])
    assert resolve_table() == StoreSpec(str(home / "lancedb"), "documents")
    assert resolve_table("./here").uri == str(tmp_path / "here")
    assert resolve_table(Path("here")).uri == str(tmp_path / "here")
    assert resolve_table("s3://bucket/x").uri == "s3://bucket/x"
    block = LanceTable(uri="/data/lancedb", table="papers")
    assert resolve_table(block) == StoreSpec("/data/lancedb", "papers")


@pytest.mark.parametrize(
    ("named", "uri", "table"),
    [
        ("mine", "{home}/lancedb", "mine"),
        ("./mine", "{here}/mine", "documents"),
        ("mine/", "{here}/mine", "documents"),
        (".", "{here}", "documents"),
        ("/data/lancedb", "/data/lancedb", "documents"),
        ("/data/lancedb/papers.lance", "/data/lancedb", "papers"),
        ("./papers.lance/", "{here}", "papers"),
        ("s3://bucket/x", "s3://bucket/x", "documents"),
        ("s3://bucket/x/papers.lance", "s3://bucket/x", "papers"),
        ("file:///data/my%20db", "/data/my db", "documents"),
        ("FILE:///data/db/papers.lance", "/data/db", "papers"),
    ],
)
def test_a_table_has_one_name_in_python_and_on_the_command_line(
    named: str, uri: str, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = StoreSpec(uri.format(home=os.environ["PREFECT_HOME"], here=tmp_path), table)
    assert resolve_table(named) == TableOptions(table=named).place() == expected


@pytest.mark.parametrize(
    "named", ["two words", "a__b", "ümlaut", "C:\\lance\\db", "file://elsewhere/db", "file:///"]
)
def test_a_text_that_names_no_table_is_refused(named: str) -> None:
    with pytest.raises(ConfigurationError):
        resolve_table(named)
    with pytest.raises(ConfigurationError):
        TableOptions(table=named).place()


def test_a_place_is_named_once() -> None:
    assert TableOptions("/data", "mine").place() == StoreSpec("/data", "mine")
    for table in ("./mine", "block:mine", "s3://bucket/x"):
        with pytest.raises(ConfigurationError, match="both name a place"):
            TableOptions("/data", table).place()


FOLDERS = ["/tmp/my db", "/tmp/50%", "/tmp/a#b?c", "/tmp/café", "/tmp/a%20b", "/tmp/a;b=c&d"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_file_url_is_decoded(folder: str) -> None:
    url = Path(folder).as_uri()
    for written in (url, url.replace("file:", "FILE:"), url.replace("file://", "file://localhost"), folder):
        assert StoreSpec(written).uri == folder
        assert LanceTable(uri=written).to_spec().uri == folder
        assert TableOptions(written).place().uri == folder
        assert CacheSpec(written).folder == folder
    assert not StoreSpec(url).remote


def test_a_path_with_a_percent_sign_is_no_url(tmp_path: Path) -> None:
    """LanceDB takes a path as it is, too."""
    folder = tmp_path / "my%20db #1"
    store = Store.open(StoreSpec(folder.as_uri()), identity=IDENTITY, create=True)
    assert store.runs() == []
    assert [path.name for path in tmp_path.iterdir()] == ["my%20db #1"]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("file://elsewhere/data", "the host 'elsewhere'"),
        ("file:///", "names no folder"),
        ("file:///a?b", "query"),
        ("file:///a%00b", "zero byte"),
        ("C:\\lance\\db", "path of Windows"),
        ("file:///C:/lance/db", "path of Windows"),
        ("\\\\server\\share", "path of Windows"),
    ],
)
def test_a_place_of_another_host_is_refused(uri: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        StoreSpec(uri)
    with pytest.raises(ValidationError, match=words):
        LanceTable(uri=uri)


# LanceTable


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        ({"uri": ""}, "uri", "at least 1"),
        ({"uri": "here/lancedb"}, "uri", "absolute path"),
        ({"uri": "ftp://a/b"}, "uri", "s3://"),
        ({"uri": "s3://"}, "uri", "bucket"),
        ({"uri": f"s3://key:{SECRET}@bucket/x"}, "uri", "storage options"),
        ({"table": "two words"}, "table", "letters"),
        ({"table": "a__b"}, "table", "'__'"),
        ({"table": ""}, "table", "letters"),
        ({"storage_options": {"key": {"a": SECRET}}}, "storage_options", "must be a text"),
        ({"storage_options": {"key": "********"}}, "storage_options", "mask"),
    ],
)
def test_a_wrong_table_is_refused_at_its_field(values: dict[str, object], field: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        LanceTable(**{"uri": "/data", **values})
    assert f"field {field!r}" in field_errors(caught.value)
    assert words in field_errors(caught.value)
    assert SECRET not in str(caught.value)


def test_options_of_the_object_store_are_texts_and_secret() -> None:
    block = LanceTable(
        uri="s3://bucket/lancedb", storage_options={"allow_http": True, "secret_access_key": SECRET}
    )
    spec = block.to_spec()
    assert spec.options == {"allow_http": "true", "secret_access_key": SECRET}
    for shown in (repr(block), str(block), block.model_dump_json(), repr(spec), str(spec)):
        assert SECRET not in shown


def test_a_check_counts_what_is_in_a_table(tmp_path: Path) -> None:
    block = LanceTable(uri=str(tmp_path / "db"), table="papers")
    before = block.check()
    assert before.ok
    assert not before.exists
    assert not (tmp_path / "db").exists()
    store = Store.open(block.to_spec(), identity=IDENTITY, create=True)
    store.begin_run("run 1", "papers")
    store.write([embedded("a.pdf", sentences("a", 3)), embedded("b.pdf", sentences("b", 2))])
    store.end_run()
    found = block.check()
    assert found.ok
    assert found.exists
    assert (found.rows, found.documents) == (5, 2)
    assert found.versions > 1
    assert found.size > 0
    assert asyncio.run(block.acheck()) == found


def test_a_check_says_what_is_wrong_with_a_place(tmp_path: Path) -> None:
    lancedb.connect(tmp_path / "db").create_table("papers", [{"other": 1}])
    foreign = LanceTable(uri=str(tmp_path / "db"), table="papers").check()
    assert not foreign.ok
    assert "another name" in foreign.error
    (tmp_path / "db" / "broken.lance").mkdir()
    (tmp_path / "db" / "broken.lance" / "_versions").mkdir()
    (tmp_path / "db" / "broken.lance" / "_versions" / "1.manifest").write_bytes(b"junk")
    broken = LanceTable(uri=str(tmp_path / "db"), table="broken").check()
    assert not broken.ok
    assert broken.error
    (tmp_path / "file").touch()
    for place in ("/proc/x", str(tmp_path / "file/db")):
        nowhere = LanceTable(uri=place).check()
        assert not nowhere.ok
        assert "cannot be made" in nowhere.error


@pytest.mark.slow  # the object store's client tries several times before it gives up
def test_an_object_store_that_cannot_be_reached_is_a_result(nowhere: str) -> None:
    options = {
        "endpoint": nowhere,
        "allow_http": "true",
        "region": "nowhere",
        "access_key_id": "key",
        "secret_access_key": SECRET,
    }
    found = LanceTable(uri="s3://bucket/lancedb", storage_options=options).check()
    assert not found.ok
    assert "storage options" in found.error
    assert SECRET not in found.error


# Secrets


@pytest.mark.parametrize(
    "block",
    [
        OllamaNode(url="https://gpu", token=SECRET),
        OllamaNode(url="https://gpu", username="me", password=SECRET, headers={"X-Key": SECRET}),
        OllamaCluster(nodes=[OllamaNode(url="https://gpu", token=SECRET)]),
        LanceTable(uri="s3://bucket/x", storage_options={"secret_access_key": SECRET}),
    ],
    ids=["token", "password", "cluster", "table"],
)
def test_secrets_do_not_show(block: Block) -> None:
    for shown in (repr(block), str(block), f"{block}", block.model_dump_json(), str(block.model_dump())):
        assert SECRET not in shown
    assert SECRET not in json.dumps(type(block).model_json_schema())
    for pickled in (pickle.dumps(block), cloudpickle.dumps(block)):
        assert SECRET.encode() not in pickled
        assert pickle.loads(pickled) == block
