"""The simulated nodes behave over HTTP as configured. All other tests and the benchmarks rely on that."""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.nodes import EOF, NAMES, Node, expected_vector, nodes, poison, text_hash, tokens
from tests.nodes.bursts import Bursts
from tests.nodes.faults import STREAMS
from tests.waiting import until

ROOT = Path(__file__).parents[1]
TEXTS = [f"text number {i}" for i in range(5)]
DIMENSION = 16
BY_STATUS = {
    "http400": (400, "invalid input"),
    "http429": (429, "too many requests"),
    "http500": (500, "internal server error"),
    "http502": (502, "bad gateway"),
    "http503": (503, "server busy, please try again.  maximum pending requests exceeded"),
    "eof400": (400, EOF),
    "eof500": (500, EOF),
    "nan400": (400, "embedding contains NaN or Inf values"),
    "too_long": (400, "the input length exceeds the context length"),
    "missing_model": (404, 'model "nomic-embed-text" not found, try pulling it first'),
    "unauthorized": (401, "unauthorized"),
    "no_embedding": (501, "This server does not support embeddings. Start it with `--embeddings`"),
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Node]:
    with Node(dimension=DIMENSION) as node:
        yield node


@pytest.fixture
def node(shared: Node) -> Iterator[Node]:
    """A healthy node with nothing counted; what a test changes is undone."""
    yield shared
    shared.heal()
    shared.wait(listening=1)
    shared.reset()


# One client for all: making one costs more than most of these tests. It keeps no connection.
HTTP = httpx.Client(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0), timeout=240)


def embed(node: Node, texts: Any = TEXTS, *, timeout: float = 240, **more: Any) -> httpx.Response:
    body = {"model": "nomic-embed-text", "input": texts, **more}
    return HTTP.post(f"{node.url}/api/embed", json=body, timeout=timeout)


def vectors(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.array(response.json()["embeddings"], dtype=np.float32)


def right(texts: list[str] = TEXTS, **how: Any) -> np.ndarray:
    return np.stack([expected_vector(text, DIMENSION, **how) for text in texts])


# The right answer


def test_vectors_are_exactly_the_expected_ones(node: Node) -> None:
    response = embed(node)
    np.testing.assert_array_equal(vectors(response), right())
    np.testing.assert_allclose(np.linalg.norm(right(), axis=1), 1, atol=1e-6)
    assert response.json()["prompt_eval_count"] == sum(map(tokens, TEXTS))
    served = node.stats()["served"]
    assert served == {text_hash(text): 1 for text in TEXTS}


def test_vectors_differ_by_text_and_weights() -> None:
    near = right() @ right().T - np.eye(len(TEXTS))
    assert np.abs(near).max() < 0.95
    assert np.abs((right() * right(weights="b")).sum(axis=1)).max() < 0.95


def test_another_quantisation_has_the_cosine_asked_for(node: Node) -> None:
    node.control(cosine=0.99)
    np.testing.assert_allclose((vectors(embed(node)) * right()).sum(axis=1), 0.99, atol=1e-5)


def test_pool_is_chosen_by_text(node: Node) -> None:
    node.control(pool=2)
    np.testing.assert_array_equal(vectors(embed(node)), right(pool=2))


def test_dimensions_cut_and_normalise_again(node: Node) -> None:
    got = vectors(embed(node, dimensions=8))
    want = right()[:, :8]
    np.testing.assert_allclose(got, want / np.linalg.norm(want, axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_array_equal(vectors(embed(node, dimensions=999)), right())


def test_a_string_is_one_text_and_nothing_loads_the_model(node: Node) -> None:
    np.testing.assert_array_equal(vectors(embed(node, TEXTS[0])), right(TEXTS[:1]))
    assert embed(node, []).json()["embeddings"] == []
    assert embed(node, "").json()["embeddings"] == []


def test_too_long_is_refused_or_cut(node: Node) -> None:
    node.control(context_length=3)
    long = "abcdefghijklmnop"
    refused = embed(node, ["short", long], truncate=False)
    assert (refused.status_code, refused.json()["error"]) == BY_STATUS["too_long"]
    np.testing.assert_array_equal(vectors(embed(node, [long])), right([long[:12]]))


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "missing request body"),
        (b"{", 400, "unexpected EOF"),
        (b"{x", 400, "invalid character"),
        (b'{"model":"nomic-embed-text","input":[1]}', 400, "invalid input type"),
        (b'{"model":"","input":["x"]}', 404, "model '' not found"),
        (b'{"model":"a b","input":["x"]}', 400, "invalid model name"),
        (b'{"model":"other","input":["x"]}', 404, 'model "other" not found'),
    ],
)
def test_bad_requests_get_ollamas_words(node: Node, body: bytes, status: int, words: str) -> None:
    response = HTTP.post(f"{node.url}/api/embed", content=body)
    assert response.status_code == status
    assert words in response.json()["error"]


def test_other_calls(node: Node) -> None:
    embed(node)
    assert HTTP.get(node.url).text == "Ollama is running"
    assert HTTP.head(node.url).status_code == 200
    assert HTTP.get(f"{node.url}/api/version").json() == {"version": "0.33.0"}
    (tag,) = HTTP.get(f"{node.url}/api/tags").json()["models"]
    assert tag["name"] == "nomic-embed-text:latest"
    assert len(tag["digest"]) == 64
    (loaded,) = HTTP.get(f"{node.url}/api/ps").json()["models"]
    assert loaded["digest"] == tag["digest"]
    shown = HTTP.post(f"{node.url}/api/show", json={"model": "nomic-embed-text"}).json()
    assert shown["capabilities"] == ["embedding"]
    assert shown["model_info"]["bert.embedding_length"] == DIMENSION
    assert HTTP.get(f"{node.url}/api/embed").status_code == 405
    assert HTTP.get(f"{node.url}/nothing").status_code == 404


def test_pull_makes_a_model_there(node: Node) -> None:
    node.control(models=[])
    assert embed(node).status_code == 404
    node.control(pull_error="disk full")
    failed = HTTP.post(f"{node.url}/api/pull", json={"model": "nomic-embed-text"})
    assert failed.status_code == 200
    assert json.loads(failed.text.splitlines()[-1]) == {"error": "disk full"}
    assert embed(node).status_code == 404
    node.control(pull_error=None)
    with HTTP.stream("POST", f"{node.url}/api/pull", json={"model": "nomic-embed-text"}) as response:
        lines = [json.loads(line) for line in response.iter_lines()]
    assert lines[0] == {"status": "pulling manifest"}
    assert lines[-1] == {"status": "success"}
    assert any("completed" in line for line in lines)
    assert embed(node).status_code == 200


def test_options_reload_the_model(node: Node) -> None:
    for context in (512, 512, 1024, 512):
        embed(node, options={"num_ctx": context})
    assert node.stats()["loads"] == 3


# HTTP


def test_keep_alive_pipelining_and_chunks(node: Node) -> None:
    body = json.dumps({"model": "nomic-embed-text", "input": TEXTS[0]}).encode()
    whole = b"POST /api/embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    half = len(body) // 2
    chunked = (
        b"POST /api/embed HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"%x\r\n%b\r\n%x;e=1\r\n%b\r\n0\r\n\r\n"
    ) % (half, body[:half], len(body) - half, body[half:])
    before = node.stats()["connections"]
    with socket.create_connection(("127.0.0.1", node.port), timeout=240) as sock:
        sock.sendall(whole + whole + chunked)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    stats = node.stats()
    assert stats["served"] == {text_hash(TEXTS[0]): 3}
    assert stats["connections"] == before + 1


def test_idle_connections_are_closed_if_asked(node: Node) -> None:
    node.control(idle_timeout=0.01)
    with socket.create_connection(("127.0.0.1", node.port), timeout=240) as sock:
        assert sock.recv(1) == b""


def test_headers_and_prefix() -> None:
    with Node(dimension=DIMENSION, prefix="/gpu/1", headers={"Authorization": "Bearer s"}) as node:
        assert node.url.endswith("/gpu/1")
        assert HTTP.get(f"{node.url}/api/tags").status_code == 401
        access = {"authorization": "Bearer s"}
        assert HTTP.get(f"{node.url}/api/tags", headers=access).status_code == 200
        assert HTTP.get(f"http://127.0.0.1:{node.port}/api/tags", headers=access).status_code == 404
        node.control(refuse_status=403)
        refused = HTTP.get(f"{node.url}/api/tags")
        assert (refused.status_code, refused.content) == (403, b"")


def test_tls_is_proved_by_its_own_ca_only() -> None:
    with Node(dimension=DIMENSION, tls=True) as node:
        trusting = ssl.create_default_context(cafile=node.ca_file)
        assert httpx.get(f"{node.url}/api/version", verify=trusting, timeout=240).status_code == 200
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{node.url}/api/version", timeout=240)


# Service


def test_service_is_first_come_first_served_at_exactly_its_rate() -> None:
    """In ideal time: a service begins when the one before should have ended, so lateness never adds up."""
    rates: dict[str, Any] = {"texts_per_second": 100, "tokens_per_second": 1000, "request_overhead": 0.02}
    with Node(dimension=DIMENSION, speed=1e-6, **rates) as node:
        with ThreadPoolExecutor(4) as pool:
            answers = []
            for number in range(1, 5):
                answers.append(pool.submit(embed, node, ["x" * 40] * number))
                stats = node.wait(requests=number)
            assert (stats["in_flight"], stats["in_service"], stats["queued"]) == (4, 1, 3)
            node.control(speed=10)
            for answer in answers:
                assert answer.result().status_code == 200
        stats = node.stats()
    assert [texts for *_, texts in stats["busy"]] == [1, 2, 3, 4]
    assert stats["max_in_service"] == 1
    for (_, _, end, _), (_, begin, _, _) in itertools.pairwise(stats["busy"]):
        assert begin == end


def test_cost_of_a_request() -> None:
    rates: dict[str, Any] = {"texts_per_second": 100, "tokens_per_second": 1000, "request_overhead": 0.02}
    with Node(dimension=DIMENSION, **rates) as node:
        for number in range(1, 4):
            embed(node, ["x" * 40] * number)
        for (_, begin, end, texts), number in zip(node.stats()["busy"], range(1, 4), strict=True):
            assert texts == number
            assert end - begin == pytest.approx(0.02 + number / 100 + 10 * number / 1000)


def test_slots_share_the_rate() -> None:
    with Node(dimension=DIMENSION, texts_per_second=40, slots=4) as node, ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: embed(node), range(6)))
        stats = node.stats()
    assert stats["max_in_service"] == 4
    assert {slot for slot, *_ in stats["busy"]} == {0, 1, 2, 3}
    for _, begin, end, texts in stats["busy"]:
        assert end - begin == pytest.approx(4 * texts / 40)


@pytest.mark.parametrize("ignore", [False, True])
def test_a_client_that_leaves_frees_its_slot(ignore: bool) -> None:
    with Node(dimension=DIMENSION, texts_per_second=5, ignore_disconnect=ignore) as node:
        body = json.dumps({"model": "nomic-embed-text", "input": TEXTS}).encode()
        head = b"POST /api/embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        with socket.create_connection(("127.0.0.1", node.port)) as sock:
            sock.sendall(head + body)
            node.wait(in_service=1)
        stats = node.wait(cancelled=1)
        assert (stats["in_service"], stats["in_flight"]) == (int(ignore), 0)
        assert not stats["served"]


def test_speed_acts_on_what_is_being_served() -> None:
    with Node(dimension=DIMENSION, texts_per_second=0.01) as node, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(embed, node)
        node.wait(in_service=1)
        node.control(speed=1e6)
        assert answer.result().status_code == 200


# Faults


@pytest.mark.parametrize("name", BY_STATUS)
def test_status_faults(node: Node, name: str) -> None:
    node.control(faults=[name])
    response = embed(node)
    assert (response.status_code, response.json()["error"]) == BY_STATUS[name]
    stats = node.stats()
    assert not stats["served"]
    assert stats["faults"] == {name: 1}
    everywhere = name == "unauthorized"
    assert (HTTP.get(f"{node.url}/api/version").status_code == 401) is everywhere


def test_forbidden_has_no_body(node: Node) -> None:
    node.control(faults=["forbidden"])
    response = embed(node)
    assert (response.status_code, response.content) == (403, b"")


def test_retry_after(node: Node) -> None:
    node.control(faults=[{"name": "http503", "retry_after": "7"}])
    assert embed(node).headers["retry-after"] == "7"
    node.control(faults=["http503"])
    assert "retry-after" not in embed(node).headers


def test_missing_model_is_missing_everywhere(node: Node) -> None:
    node.control(faults=["missing_model"])
    assert HTTP.get(f"{node.url}/api/tags").json() == {"models": []}
    shown = HTTP.post(f"{node.url}/api/show", json={"model": "nomic-embed-text"})
    assert (shown.status_code, shown.json()["error"]) == BY_STATUS["missing_model"]


def test_redirect_and_html(node: Node) -> None:
    node.control(faults=[{"name": "redirect", "location": "http://127.0.0.1:9/x"}])
    response = embed(node)
    assert (response.status_code, response.headers["location"]) == (307, "http://127.0.0.1:9/x")
    node.control(faults=["html"])
    response = embed(node)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html"


def test_hang_and_drip_never_end(node: Node) -> None:
    for name in ("hang", "drip"):
        node.control(faults=[name])
        with pytest.raises(httpx.ReadTimeout):
            embed(node, timeout=0.3)
    node.wait(cancelled=1)
    until(lambda: node.stats()["in_flight"] == 0)


def test_drip_comes_byte_by_byte(node: Node) -> None:
    node.control(faults=[{"name": "drip", "period": 0.0001}])
    body = {"model": "nomic-embed-text", "input": TEXTS[:1]}
    with HTTP.stream("POST", f"{node.url}/api/embed", json=body) as response:
        pieces = list(response.iter_raw())
    assert len(pieces) > 50
    assert len(json.loads(b"".join(pieces))["embeddings"]) == 1


@pytest.mark.parametrize("name", ["reset", "short_body", "close"])
def test_broken_connections(node: Node, name: str) -> None:
    node.control(faults=[name])
    errors: dict[str, type[Exception]] = {"reset": httpx.ReadError}
    with pytest.raises(errors.get(name, httpx.RemoteProtocolError)):
        embed(node)


def test_half_json(node: Node) -> None:
    node.control(faults=["half_json"])
    response = embed(node)
    assert response.status_code == 200
    assert len(response.content) == int(response.headers["content-length"])
    with pytest.raises(json.JSONDecodeError):
        response.json()


def test_huge(node: Node) -> None:
    node.control(faults=[{"name": "huge", "size": 10**6}])
    response = embed(node)
    assert len(response.content) > 10**6
    np.testing.assert_array_equal(vectors(response), right())


def test_wrong_vectors(node: Node) -> None:
    def answer(name: str, **more: Any) -> Any:
        node.control(faults=[{"name": name, **more}])
        return embed(node).json()["embeddings"]

    assert len(answer("wrong_count")) == len(TEXTS) - 1
    assert len(answer("wrong_count", by=2)) == len(TEXTS) + 2
    assert {len(vector) for vector in answer("wrong_dimension")} == {DIMENSION - 1}
    assert {len(vector) for vector in answer("wrong_dimension", by=3)} == {DIMENSION + 3}
    assert [len(vector) for vector in answer("ragged")].count(DIMENSION) == len(TEXTS) - 1
    assert np.isnan(answer("nan")).sum() == 1
    assert np.isinf(answer("inf")).sum() == 1
    assert sum(vector.count(None) for vector in answer("null")) == 1
    assert answer("null_vector").count(None) == 1
    assert (np.linalg.norm(answer("zero"), axis=1) == 0).sum() == 1
    np.testing.assert_allclose(np.linalg.norm(answer("unnormalised"), axis=1), 2, atol=1e-5)
    np.testing.assert_array_equal(np.float32(answer("wrong_order")), np.roll(right(), -1, axis=0))
    np.testing.assert_array_equal(np.float32(answer("other_weights")), right(weights="b"))
    assert not node.stats()["served"]


def test_every_fault_has_a_test() -> None:
    """The names above and these are all there are; those of streams have theirs in `test_chat_client.py`."""
    here = {
        "forbidden",
        "redirect",
        "html",
        "hang",
        "drip",
        "reset",
        "short_body",
        "close",
        "half_json",
        "huge",
    }
    spoilt = {"wrong_count", "wrong_dimension", "ragged", "nan", "inf", "null", "null_vector", "zero"}
    spoilt |= {"unnormalised", "wrong_order", "other_weights"}
    assert here | spoilt | BY_STATUS.keys() | {"down", "flap", "slow"} | STREAMS == NAMES


def test_down_refuses_connections_and_breaks_open_ones(node: Node) -> None:
    with httpx.Client(timeout=240) as client:
        assert client.get(node.url).status_code == 200
        node.control(faults=["down"])
        # The open connection is reset, or the client has seen that already and makes a new one, which is refused.
        with pytest.raises(httpx.TransportError):
            client.get(node.url)
        with pytest.raises(httpx.ConnectError):
            client.get(node.url)
        assert node.stats()["listening"] == 0
        node.control(faults=[])
        node.wait(listening=1)
        assert client.get(node.url).status_code == 200


def test_down_in_mid_run_breaks_what_is_being_served_and_comes_back() -> None:
    down = {"name": "down", "after_requests": 1, "duration": 0.1}
    with Node(dimension=DIMENSION, texts_per_second=200, faults=[down]) as node:
        assert embed(node).status_code == 200
        with pytest.raises(httpx.TransportError):
            embed(node)
        node.wait(listening=1)
        assert embed(node).status_code == 200
        assert node.stats()["in_flight"] == 0


def test_flap_goes_down_and_up_by_turns(node: Node) -> None:
    node.control(faults=[{"name": "flap", "period": 0.05}])
    seen: list[int] = []
    while seen[-4:] != [0, 1, 0, 1] and len(seen) < 1000:
        listening = node.stats()["listening"]
        if not seen or seen[-1] != listening:
            seen.append(listening)
    assert seen[:4] in ([0, 1, 0, 1], [1, 0, 1, 0])


def test_slow_begins_after_some_requests_and_ends() -> None:
    slow = {"name": "slow", "factor": 0.25, "after_requests": 1, "times": None}
    with Node(dimension=DIMENSION, texts_per_second=500, faults=[slow]) as node:
        embed(node)
        embed(node)
        node.control(faults=[])
        embed(node)
        lengths = [end - begin for _, begin, end, _ in node.stats()["busy"]]
    assert lengths == pytest.approx([0.01, 0.04, 0.01])


def test_conditions(node: Node) -> None:
    node.control(faults=[{"name": "http500", "after_requests": 2, "times": 3}])
    assert [embed(node).status_code for _ in range(7)] == [200, 200, 500, 500, 500, 200, 200]
    node.control(faults=[{"name": "http500", "probability": 0.5}])
    assert {embed(node).status_code for _ in range(40)} == {200, 500}
    node.control(faults=[{"name": "http500", "duration": 0.0}])
    assert embed(node).status_code == 200
    node.control(faults=[{"name": "http500", "paths": ["/api/tags"]}])
    assert embed(node).status_code == 200
    assert HTTP.get(f"{node.url}/api/tags").status_code == 500


@pytest.mark.parametrize(("mode", "name"), [("400", "http400"), ("500", "http500"), ("eof", "eof400")])
def test_poison_costs_the_whole_request_after_its_service(mode: Any, name: str) -> None:
    with Node(dimension=DIMENSION, texts_per_second=500, faults=[poison("#", mode)]) as node:
        response = embed(node, [*TEXTS, "a # b"])
        assert (response.status_code, response.json()["error"]) == BY_STATUS[name]
        assert [texts for *_, texts in node.stats()["busy"]] == [6]
        assert embed(node).status_code == 200


def test_control_refuses_what_does_not_exist(node: Node) -> None:
    for wrong in (
        {"faults": ["no such"]},
        {"faults": [{"name": "hang", "x": 1}]},
        {"speeed": 1},
        {"slots": 2},
    ):
        with pytest.raises(ValueError, match=r"\w"):
            node.control(**wrong)
    assert embed(node).status_code == 200


# Processes


def test_kill_and_restart_on_the_same_port() -> None:
    with Node(dimension=DIMENSION) as node:
        url = node.url
        node.kill()
        assert not node.alive
        with pytest.raises(httpx.ConnectError):
            HTTP.get(url)
        node.restart()
        assert node.url == url
        assert embed(node).status_code == 200


def test_freeze_and_thaw() -> None:
    with Node(dimension=DIMENSION) as node, ThreadPoolExecutor(1) as pool:
        node.freeze()
        with pytest.raises(httpx.ReadTimeout):
            embed(node, timeout=0.2)
        answer = pool.submit(embed, node)
        node.thaw()
        assert answer.result().status_code == 200


def test_nodes_end_together() -> None:
    with nodes({"dimension": 4}, {"dimension": 4}) as two:
        assert len({node.port for node in two}) == 2
        assert all(node.alive for node in two)
    assert not any(node.alive for node in two)


def test_no_node_outlives_its_parent() -> None:
    script = "from tests.nodes import Node; print(Node().start().ready().port, flush=True); input()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=240) as sock:
            parent.kill()
            assert sock.recv(1) == b""


@given(
    duty=st.floats(0.05, 1.0),
    period=st.floats(0.1, 10.0),
    phase=st.floats(0.0, 10.0),
    begin=st.floats(0.0, 100.0),
    work=st.floats(0.0, 50.0),
)
def test_bursts_end_when_their_work_is_done(
    duty: float, period: float, phase: float, begin: float, work: float
) -> None:
    bursts = Bursts(duty, period, phase)
    end = bursts.end(begin, work)
    assert end >= begin + work - 1e-6
    assert bursts.worked(end) - bursts.worked(begin) == pytest.approx(work, abs=1e-6)


def test_a_node_that_works_in_bursts_stands_still_between_them() -> None:
    with nodes({"texts_per_second": 100.0, "burst_duty": 0.25, "burst_period": 0.4}) as (node,):
        for _ in range(3):
            embed(node, [f"text {number}" for number in range(15)])
        busy = node.stats()["busy"]
        bursts = Bursts(0.25, 0.4)
        for _, begin, end, texts in busy:
            assert bursts.worked(end) - bursts.worked(begin) == pytest.approx(texts / 100, abs=1e-6)
        assert sum(end - begin for _, begin, end, _ in busy) > 0.45
        node.control(burst_duty=1.0)
        embed(node, ["text"] * 15)
        _, begin, end, _ = node.stats()["busy"][-1]
        assert end - begin == pytest.approx(0.15, abs=1e-6)
