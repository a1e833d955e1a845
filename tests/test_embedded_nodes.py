"""Embedded nodes as processes: they start, they are all there, and they never outlive their owner."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from prefect_ollama.blocks.embedded.nodes import EmbeddedNodes
from prefect_ollama.blocks.embedded.server import serve
from prefect_ollama.blocks.errors import ClusterError, ConfigurationError, ModelFilesError


def children() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it may end meanwhile
            found += [process] if "prefect_ollama.blocks.embedded" in process.cmdline() else []
    return found


def test_each_node_is_a_process_of_its_own_and_ends_with_the_block() -> None:
    with EmbeddedNodes(2) as nodes:
        urls = nodes.urls
        assert len(set(urls)) == 2
        assert len(children()) == 2
        for url in urls:
            answer = httpx.post(
                f"{url}/api/embed", json={"model": "all-minilm", "input": "a text"}, timeout=240
            )
            assert len(answer.json()["embeddings"][0]) == 384
    assert nodes.urls == ()
    assert children() == []
    for url in urls:
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, timeout=240)


def test_one_node_a_core_by_default() -> None:
    with EmbeddedNodes() as nodes:
        assert len(nodes.urls) == min(len(os.sched_getaffinity(0)), 4)


def test_nodes_end_when_the_block_fails() -> None:
    with pytest.raises(KeyError), EmbeddedNodes(1):
        raise KeyError
    assert children() == []


OWNER = """
import os, sys, time
from prefect_ollama.blocks.embedded import EmbeddedNodes
nodes = EmbeddedNodes(1).start()
if "fork" in sys.argv and os.fork() == 0:
    os.close(1)  # holds the node's stdin open, as a worker forked off the owner would
    time.sleep(60)
    os._exit(0)
print(nodes.urls[0], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["plain", "fork"])
def test_nodes_end_when_their_owner_is_killed(how: str) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    url = owner.stdout.readline().strip()
    assert httpx.get(url, timeout=240).status_code == 200
    family = psutil.Process(owner.pid).children()
    node = next(process for process in family if "prefect_ollama.blocks.embedded" in process.cmdline())
    owner.kill()
    owner.communicate()
    psutil.wait_procs([node], timeout=240)
    assert not node.is_running()
    for process in family:
        if process.is_running():
            process.kill()


def test_a_killed_node_does_not_disturb_the_stop() -> None:
    with EmbeddedNodes(2):
        children()[0].kill()
    assert children() == []


def test_a_frozen_node_is_killed_at_the_stop() -> None:
    with EmbeddedNodes(1):
        children()[0].suspend()
    assert children() == []


def test_wrong_files_are_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError):
        EmbeddedNodes(1, model_dir=tmp_path).start()
    assert children() == []


def test_a_node_that_is_not_ready_in_time_is_told_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_ollama.blocks.embedded.nodes._READY_S", 0.01)
    with pytest.raises(ClusterError, match=r"not ready within 0\.01 s") as caught:
        EmbeddedNodes(2).start()
    assert "None of the embedded nodes was left running" in caught.value.state
    assert children() == []


def test_a_node_that_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ClusterError, match="ended with status 1"):
        EmbeddedNodes(1).start()
    assert children() == []


def test_less_than_one_node_or_thread_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="0 embedded nodes"):
        EmbeddedNodes(0)
    with pytest.raises(ConfigurationError, match="-1 threads"):
        serve(port=0, threads=-1)


SERVE = """
from prefect_ollama.blocks.embedded import serve
serve(port=0, ready=lambda url: print(url, flush=True))
print("done")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_stops_in_good_order(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert httpx.get(process.stdout.readline().strip(), timeout=240).text == "Ollama is running"
    process.send_signal(number)
    rest, _ = process.communicate(timeout=240)
    assert rest == ("done\n" if number == signal.SIGINT else "")
    assert process.returncode == (0 if number == signal.SIGINT else -number)


def test_serve_refuses_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port}.*another program listens there"):
            serve(port=port)
