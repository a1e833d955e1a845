"""Looking for nodes: only where one was told to, everything that is there, nothing else, and no block overwritten."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import uuid
from collections.abc import Iterator

import pytest
from prefect.exceptions import ParameterTypeError

import prefect_ollama
from prefect_ollama import render
from prefect_ollama.blocks import OllamaNode
from prefect_ollama.blocks.embedded._app import VERSION
from prefect_ollama.blocks.errors import ConfigurationError
from prefect_ollama.blocks.nodes.discovery import addresses_of, block_name, discover, host_name
from prefect_ollama.blocks.saved_nodes import save_node, saved_nodes
from prefect_ollama.flows import NodeStatus, discover_nodes
from tests.nodes import Node, nodes
from tests.test_commands import shown
from tests.waiting import until

LOOPBACK = "127.0.0.0/29"
HOST_TIMEOUT = "prefect_ollama.blocks.nodes.check.STATUS_TIMEOUT_S"


@pytest.fixture(autouse=True)
def long_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give nodes as long as they need: a busy machine is no reason that one is not found."""
    monkeypatch.setattr(HOST_TIMEOUT, 240.0)


class Listener:
    """Takes connections at an address of loopback, counts them, and answers nothing or what it is told."""

    def __init__(self, address: str, port: int = 0, answer: bytes = b"") -> None:
        self.count = 0
        self._answer = answer
        self._server = socket.create_server((address, port))
        self.port = self._server.getsockname()[1]
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = self._server.accept()
                self.count += 1
                self._kept.append(taken)
                if self._answer:
                    taken.sendall(self._answer)

    def close(self) -> None:
        # A thread that waits in accept() is not woken by close() alone.
        self._server.shutdown(socket.SHUT_RDWR)
        for each in (self._server, *self._kept):
            each.close()


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Node]]:
    with nodes({"version": "0.33.0"}, {"models": ["bge-m3", "all-minilm"]}) as started:
        yield started


def find(networks: list[str], ports: list[int]) -> list[NodeStatus]:
    return asyncio.run(discover(addresses_of(networks, most=4096), ports, timeout=60.0))


def test_all_servers_in_the_network_are_found_and_nothing_else(pair: list[Node]) -> None:
    page = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n<!DO"
    other, outside = Listener("127.0.0.3", answer=page), Listener("127.0.0.9")
    try:
        # A port that is named twice is asked once.
        found = find([LOOPBACK], [pair[0].port, pair[1].port, pair[0].port, other.port, outside.port])
    finally:
        for each in (other, outside):
            each.close()
    assert [each.url for each in found] == [f"http://127.0.0.1:{node.port}" for node in pair]
    assert found[0].version == "0.33.0"
    assert found[1].models == ("all-minilm:latest", "bge-m3:latest")
    assert other.count >= 1
    assert outside.count == 0


def test_a_server_that_says_nothing_is_left_alone_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HOST_TIMEOUT, 0.3)
    silent = Listener("127.0.0.2")
    try:
        assert find(["127.0.0.2"], [silent.port]) == []
        until(lambda: silent.count)
    finally:
        silent.close()


def test_no_more_addresses_are_asked_at_once_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_ollama.blocks.nodes.discovery.CONCURRENT_HOSTS", 2)
    now = most = 0

    async def connect(*_: object) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        raise OSError

    monkeypatch.setattr("asyncio.open_connection", connect)
    assert find(["10.0.0.0/28"], [1, 2]) == []
    assert most == 2


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        (["192.168.1.0/30"], ["192.168.1.1", "192.168.1.2"]),
        (["192.168.1.7"], ["192.168.1.7"]),
        (["192.168.1.1/30", " 192.168.1.2 "], ["192.168.1.1", "192.168.1.2"]),
        (["fd00::/127"], ["fd00::", "fd00::1"]),
    ],
)
def test_the_addresses_of_networks(networks: list[str], expected: list[str]) -> None:
    assert addresses_of(networks, most=5) == expected


def test_large_networks_and_such_as_are_none_are_refused() -> None:
    for large in (["10.0.0.0/8"], ["::/0"], ["192.168.1.0/24"] * 17):
        with pytest.raises(ConfigurationError, match="4,096 are allowed") as caught:
            addresses_of(large, most=4096)
        assert caught.value.state == "Nothing was asked."
    with pytest.raises(ConfigurationError, match="'gpu-box' is no network"):
        addresses_of(["gpu-box"], most=4096)


@pytest.mark.parametrize(
    ("url", "host", "expected"),
    [
        ("http://10.0.0.7:11434", "gpu-box.example.org", "gpu-box"),
        ("http://10.0.0.7:11435", "GPU_Box.example.org", "gpu-box-11435"),
        ("http://10.0.0.7:11434", "", "ollama-10-0-0-7"),
        ("http://127.0.0.1:11434", "localhost", "ollama-127-0-0-1"),
        ("http://[fd00::7]:11434", "", "ollama-fd00-7"),
        ("http://10.0.0.7:11434", "10.0.0.7", "ollama-10-0-0-7"),
        ("http://10.0.0.7:11434", "taken.lan", "taken-3"),
    ],
)
def test_names_are_those_of_hosts_and_free(url: str, host: str, expected: str) -> None:
    assert block_name(url, host, {"taken", "taken-2"}) == expected


def test_a_host_without_a_name_has_none() -> None:
    # An address that is set apart for documents (RFC 5737).
    assert asyncio.run(host_name("http://192.0.2.1:11434")) == ""


# As a user starts it


@pytest.mark.usefixtures("prefect_server")
class TestFlow:
    @pytest.mark.slow
    def test_what_is_found_is_shown_and_saved_only_if_asked(
        self, pair: list[Node], caplog: pytest.LogCaptureFixture
    ) -> None:
        before = saved_nodes()
        known = f"known-{uuid.uuid4().hex[:8]}"
        # The same server in other words.
        OllamaNode(url=pair[0].url.replace("127.0.0.1", "localhost"), max_in_flight=3).save(known)
        ports = [node.port for node in pair]
        first, second = discover_nodes(LOOPBACK, ports)
        assert "Found 2 Ollama servers at " in caplog.text
        assert (first.url, first.name, first.saved) == (pair[0].url, known, True)
        assert (second.url, second.saved) == (pair[1].url, False)
        assert saved_nodes().keys() - before.keys() == {known}

        again = discover_nodes([LOOPBACK], ports, save=True)
        assert [node.saved for node in again] == [True, True]
        assert OllamaNode.load(again[1].name).url == pair[1].url
        assert OllamaNode.load(known).max_in_flight == 3
        assert saved_nodes().keys() - before.keys() == {known, again[1].name}
        assert [node.name for node in discover_nodes([LOOPBACK], ports, save=True)] == [known, again[1].name]
        OllamaNode.delete(again[1].name)
        OllamaNode.delete(known)

    def test_an_embedded_node_is_named_as_such(
        self, pair: list[Node], caplog: pytest.LogCaptureFixture
    ) -> None:
        pair[1].control(version=VERSION)
        try:
            found = discover_nodes(LOOPBACK, [node.port for node in pair])
        finally:
            pair[1].heal()
        assert "Found 1 Ollama server and 1 embedded node at " in caplog.text
        assert [node.kind for node in found] == ["Ollama", "embedded node"]
        text = shown(render.found(found))
        assert "Ollama 0.33.0" in text
        assert f"embedded node {prefect_ollama.__version__}" in text
        assert "0.0.0+" not in text

    @pytest.mark.slow
    def test_a_name_that_is_taken_is_left_alone(
        self, pair: list[Node], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = f"taken-{uuid.uuid4().hex[:8]}"
        OllamaNode(url="http://elsewhere:11434").save(name)
        assert not save_node(name, pair[0].url)
        # The name is taken between the look at the blocks and the save.
        monkeypatch.setattr("prefect_ollama.tasks.discover.block_name", lambda *_: name)
        (found,) = discover_nodes(["127.0.0.1"], [pair[0].port], save=True)
        assert found.name == f"{name}-2"
        assert OllamaNode.load(name).url == "http://elsewhere:11434"
        assert OllamaNode.load(found.name).url == pair[0].url
        OllamaNode.delete(found.name)

    def test_networks_are_asked_for_and_checked_before_anything_starts(self) -> None:
        for wrong in ({}, {"networks": []}, {"networks": ["gpu-box"]}, {"networks": "x", "ports": [0]}):
            with pytest.raises((ParameterTypeError, TypeError)):
                discover_nodes.validate_parameters(wrong)
        with pytest.raises(ConfigurationError, match="65,536 addresses"):
            discover_nodes("10.0.0.0/16")


def test_of_the_terminal() -> None:
    rows = [
        NodeStatus(
            "gpu-box",
            "http://10.0.0.7:11434",
            block="gpu-box",
            version="0.33.0",
            models=("nomic-embed-text:latest",) * 3,
        ),
        NodeStatus("ollama-10-0-0-8", "http://10.0.0.8:11434", version="0.33.0"),
    ]
    text = shown(render.found(rows))
    assert max(map(len, text.splitlines())) <= 80
    assert "(ollama-10-0-0-8)" in text
    assert "not saved yet" in text
    assert "not saved yet" not in shown(render.found(rows[:1]))
    assert shown(render.found([])).strip() == "No Ollama server found."
