"""The embedded node over real HTTP: Ollama's answers, words and status codes."""

import asyncio
import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import uvicorn
from packaging.version import Version
from starlette.requests import Request
from starlette.testclient import TestClient

from prefect_ollama import __version__
from prefect_ollama.blocks.embedded._app import create_app
from prefect_ollama.blocks.embedded._guard import MAX_BODY_BYTES, Bodies
from prefect_ollama.blocks.embedded._model import DIGEST, EmbeddingModel
from prefect_ollama.blocks.embedded._request import MAX_TEXTS, Refused, parse_show
from prefect_ollama.blocks.embedded.nodes import EmbeddedNodes
from prefect_ollama.blocks.embedded.server import serve
from prefect_ollama.blocks.embedded.tokens import count_tokens
from prefect_ollama.blocks.errors import ConfigurationError

#: 512 tokens with their frame, and one more.
FITS = "word " * 510
TOO_LONG = "word " * 511


@pytest.fixture(scope="module")
def node() -> Iterator[httpx.Client]:
    with EmbeddedNodes(1) as nodes, httpx.Client(base_url=nodes.urls[0], timeout=240) as client:
        yield client


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    return EmbeddingModel()


def embed(node: httpx.Client, text: object, **more: object) -> httpx.Response:
    return node.post("/api/embed", json={"model": "all-minilm", "input": text} | more)


def vectors(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.array(response.json()["embeddings"], np.float32)


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


def test_a_list_is_embedded_in_its_order(node: httpx.Client, model: EmbeddingModel) -> None:
    texts = ["first text", "second, longer text", "", "größer 🙂"]
    response = embed(node, texts)
    expected = [model.embed(model.tokenizer.encode(text)) for text in texts]
    # Equal to the last bit: the numbers are printed so that nothing is lost.
    assert np.array_equal(vectors(response), np.stack(expected))
    body = response.json()
    assert body["model"] == "all-minilm"
    assert body["prompt_eval_count"] == sum(map(count_tokens, texts))
    assert body["total_duration"] > body["load_duration"] > 0
    assert response.headers["content-type"] == "application/json; charset=utf-8"


def test_a_string_gives_one_vector(node: httpx.Client) -> None:
    assert np.array_equal(vectors(embed(node, "a text")), vectors(embed(node, ["a text"])))
    assert vectors(embed(node, "a text", model="all-minilm:latest")).shape == (1, 384)


@pytest.mark.parametrize("nothing", [[], "", None])
def test_nothing_gives_no_vectors(node: httpx.Client, nothing: object) -> None:
    response = embed(node, nothing)
    assert (response.status_code, response.json()) == (200, {"model": "all-minilm", "embeddings": []})


def test_a_list_of_one_empty_text_gives_a_vector(node: httpx.Client) -> None:
    assert np.linalg.norm(vectors(embed(node, [""]))) == pytest.approx(1, abs=1e-6)


def test_a_text_that_fits_is_embedded_whole(node: httpx.Client) -> None:
    response = embed(node, FITS, truncate=False)
    assert response.json()["prompt_eval_count"] == count_tokens(FITS) == 512
    assert len(vectors(response)) == 1


def test_a_text_too_long_is_refused_when_it_must_not_be_cut(node: httpx.Client) -> None:
    expected = (400, "the input length exceeds the context length")
    assert refusal(embed(node, TOO_LONG, truncate=False)) == expected
    # As with Ollama, one bad input fails the whole request.
    assert refusal(embed(node, ["short", TOO_LONG], truncate=False)) == expected


def test_a_text_too_long_is_cut_by_default(node: httpx.Client) -> None:
    for more in ({}, {"truncate": True}, {"truncate": None}):
        response = embed(node, TOO_LONG + "and what follows", **more)
        assert np.array_equal(vectors(response), vectors(embed(node, FITS)))
        assert response.json()["prompt_eval_count"] == 512


def test_num_ctx_narrows_the_context_and_never_widens_it(node: httpx.Client) -> None:
    ten = "word " * 8
    assert embed(node, ten, truncate=False, options={"num_ctx": 10}).status_code == 200
    assert refusal(embed(node, ten + "more", truncate=False, options={"num_ctx": 10}))[0] == 400
    cut = embed(node, ten + "more", options={"num_ctx": 10})
    assert cut.json()["prompt_eval_count"] == 10
    assert np.array_equal(vectors(cut), vectors(embed(node, ten)))
    assert embed(node, TOO_LONG, truncate=False, options={"num_ctx": 8192}).status_code == 400
    assert embed(node, ten, options={"num_ctx": 1}).json()["prompt_eval_count"] == 4


def test_dimensions_cut_and_normalise_again(node: httpx.Client) -> None:
    whole, part = vectors(embed(node, "a text"))[0], vectors(embed(node, "a text", dimensions=64))[0]
    assert part.shape == (64,)
    assert part == pytest.approx(whole[:64] / np.linalg.norm(whole[:64]), abs=1e-6)
    for ignored in (0, -1, 384, 4096):
        assert np.array_equal(vectors(embed(node, "a text", dimensions=ignored))[0], whole)


def test_keep_alive_and_other_options_are_taken(node: httpx.Client) -> None:
    for keep_alive in (0, -1, "10m"):
        response = embed(node, "a text", keep_alive=keep_alive, options={"num_batch": 512, "num_gpu": 0})
        assert response.status_code == 200


@pytest.mark.parametrize("wrong", [1, True, {"a": 1}, ["text", 1], [["text"]], [None]])
def test_input_that_is_no_text_is_refused(node: httpx.Client, wrong: object) -> None:
    assert refusal(embed(node, wrong)) == (400, "invalid input type")


def test_other_models_are_refused(node: httpx.Client) -> None:
    for name in ("nomic-embed-text", "all-minilm:33m", "someone/all-minilm"):
        expected = (404, f'model "{name}" not found, try pulling it first')
        assert refusal(embed(node, "a text", model=name)) == expected
        full = name if ":" in name else f"{name}:latest"
        assert refusal(node.post("/api/show", json={"model": name})) == (404, f"model '{full}' not found")
    assert refusal(embed(node, "a text", model="")) == (404, "model '' not found")
    for name in (" ", "a b", "a:b:c", "/x", "x" * 351):
        assert refusal(embed(node, "a text", model=name)) == (400, "invalid model name")


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "all-minilm", "input": "x"',
        b"not json",
        b"[]",
        b'{"model": 7, "input": "x"}',
        b'{"model": "all-minilm", "input": "x", "truncate": "no"}',
        b'{"model": "all-minilm", "input": "x", "dimensions": true}',
        b'{"model": "all-minilm", "input": "x", "options": []}',
        b'{"model": "all-minilm", "input": "\xff"}',
    ],
)
def test_what_cannot_be_read_is_refused(node: httpx.Client, body: bytes) -> None:
    status, words = refusal(node.post("/api/embed", content=body))
    assert status == 400
    assert words


def test_a_missing_body_is_refused(node: httpx.Client) -> None:
    for path in ("/api/embed", "/api/show"):
        assert refusal(node.post(path)) == (400, "missing request body")


def test_says_what_it_holds(node: httpx.Client) -> None:
    (tag,) = node.get("/api/tags").json()["models"]
    (loaded,) = node.get("/api/ps").json()["models"]
    for entry in (tag, loaded):
        assert entry["name"] == entry["model"] == "all-minilm:latest"
        assert entry["digest"] == DIGEST
        assert entry["size"] > 90_000_000
    assert loaded["context_length"] == 512
    assert loaded["size_vram"] == 0
    shown = node.post("/api/show", json={"model": "all-minilm"}).json()
    assert shown["capabilities"] == ["embedding"]
    assert shown["model_info"]["bert.embedding_length"] == 384
    assert shown["model_info"]["bert.context_length"] == 512


def test_does_not_pass_itself_off_as_ollama(node: httpx.Client) -> None:
    version = node.get("/api/version").json()["version"]
    assert Version(version).release == (0, 0, 0)
    assert version == f"0.0.0+prefect-ollama.{__version__}"


def test_answers_a_heartbeat_and_refuses_other_paths(node: httpx.Client) -> None:
    assert node.get("/").text == "Ollama is running"
    assert node.head("/").status_code == 200
    assert node.post("/api/generate", json={"model": "all-minilm"}).status_code == 404
    assert node.get("/api/embed").status_code == 405


@pytest.mark.parametrize("host", ["localhost:11434", "127.0.0.1", "[::1]:1", "10.0.0.7", "node.local"])
def test_local_hosts_are_served(node: httpx.Client, host: str) -> None:
    assert node.get("/api/version", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example.com", "8.8.8.8", "localhost.example.com"])
def test_foreign_hosts_are_refused(node: httpx.Client, host: str) -> None:
    response = node.get("/api/version", headers={"Host": host})
    assert (response.status_code, response.content) == (403, b"")


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "http://localhost:3000",
        "https://127.0.0.1:8080",
        "http://0.0.0.0",
        "http://[::1]:5",
    ],
)
def test_pages_of_this_host_are_served(node: httpx.Client, origin: str) -> None:
    assert node.get("/api/version", headers={"Origin": origin}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://localhost@example.com",
        "http://example.com#localhost",
        "http://10.0.0.7",
        "https://node.local",
        "file://",
        "null",
        "",
        "localhost",
        "http://[::1",
    ],
)
@pytest.mark.parametrize("loopback", [True, False])
def test_foreign_pages_are_refused(
    node: httpx.Client, model: EmbeddingModel, origin: str, loopback: bool
) -> None:
    if loopback:
        response = node.post(
            "/api/embed",
            content='{"model":"all-minilm","input":"x"}',
            headers={"Origin": origin, "Content-Type": "text/plain"},
        )
        assert (response.status_code, response.content) == (403, b"")
    else:
        with TestClient(create_app(model, loopback=False), base_url="http://gpu-box:11434") as client:
            assert client.get("/api/version").status_code == 200
            assert client.get("/api/version", headers={"Origin": origin}).status_code == 403


def test_the_name_of_a_page_is_no_reason_to_trust_it(node: httpx.Client) -> None:
    """DNS rebinding: the page's own name resolves to this host, so that Origin and Host agree."""
    headers = {"Host": "attacker.example:80", "Origin": "http://attacker.example:80"}
    assert node.get("/api/tags", headers=headers).status_code == 403


@pytest.mark.parametrize("hosts", [[], ["localhost", "example.com"], ["example.com", "localhost"], ["[::1"]])
def test_a_host_header_that_is_none_or_two_is_refused(node: httpx.Client, hosts: list[str]) -> None:
    answer = raw(
        node,
        b"GET /api/version HTTP/1.1\r\n" + b"".join(b"Host: %b\r\n" % h.encode() for h in hosts) + b"\r\n",
    )
    assert answer.split()[1] in (b"400", b"403")


def raw(node: httpx.Client, request: bytes) -> bytes:
    """What the node answers to bytes; it may close before it has read them all."""
    with socket.create_connection((node.base_url.host, node.base_url.port), timeout=240) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(request)
        answer = b""
        with contextlib.suppress(OSError):
            while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
                answer += part
        return answer


HEAD = b"POST /api/embed HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1), "2147483648", "9" * 100])
def test_a_body_that_says_it_is_too_large_is_not_read(node: httpx.Client, length: str) -> None:
    answer = raw(node, HEAD + b"Content-Length: %b\r\n\r\n" % length.encode())
    assert answer.split()[1] in (b"413", b"400")


def test_a_body_in_chunks_is_read_up_to_its_bound(node: httpx.Client) -> None:
    sent = 0

    def pour() -> Iterator[bytes]:
        nonlocal sent
        yield b'{"model": "all-minilm", "input": "'
        while sent < 10 * MAX_BODY_BYTES:
            sent += 2**20
            yield b"x" * 2**20

    with contextlib.suppress(httpx.TransportError):  # the answer may come before all is sent
        response = node.post("/api/embed", content=pour())
        assert refusal(response) == (413, "http: request body too large")
    assert sent < 3 * MAX_BODY_BYTES
    assert embed(node, "still there").status_code == 200


def test_a_head_is_bounded(node: httpx.Client) -> None:
    for head in (b"X: " + b"y" * 2**20 + b"\r\n", b"X: y\r\n" * 50_000):
        assert raw(node, HEAD + head + b"\r\n").split()[1] == b"400"
    assert raw(node, b"GET /" + b"x" * 2**20 + b" HTTP/1.1\r\n\r\n").split()[1] == b"400"


def test_a_list_is_bounded(node: httpx.Client) -> None:
    assert refusal(embed(node, [""] * (MAX_TEXTS + 1))) == (413, "a request may have 10000 texts")
    bomb = b'{"model": "all-minilm", "input": [' + b"[]," * 2**22 + b"[]]}"
    assert refusal(node.post("/api/embed", content=bomb)) == (400, "invalid input type")


def test_brackets_in_a_text_are_only_text(node: httpx.Client) -> None:
    texts = ["[" * 5000 + '\\"{' * 5000, "{" * 5000]
    assert embed(node, texts).status_code == 200


@pytest.mark.parametrize("last", [b"", b"\\"])
def test_a_string_without_end_is_found_at_once(last: bytes) -> None:
    with pytest.raises(Refused):
        parse_show(b"[" * 2000 + b'"' + rb"\"" * 2**20 + last)


@pytest.mark.parametrize("keep_alive", ["10m", "-1s", "0", "1h30m", "1.5h", 0, -1, 3600, 1.5, None])
def test_durations_are_taken(node: httpx.Client, keep_alive: object) -> None:
    assert embed(node, "a text", keep_alive=keep_alive).status_code == 200


@pytest.mark.parametrize(
    ("keep_alive", "words"),
    [
        ("abc", 'time: invalid duration "abc"'),
        ("", 'time: invalid duration ""'),
        ("30", 'time: missing unit in duration "30"'),
        (True, "Unsupported type: 'bool'"),
    ],
)
def test_what_is_no_duration_is_refused(node: httpx.Client, keep_alive: object, words: str) -> None:
    assert refusal(embed(node, "a text", keep_alive=keep_alive)) == (400, words)


def test_bodies_together_are_bounded_and_a_slow_one_ends(
    model: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def request(pieces: list[bytes | None]) -> Request:
        async def receive() -> dict[str, object]:
            piece = pieces.pop(0)
            if piece is None:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        return Request({"type": "http", "headers": []}, receive)

    async def run() -> None:
        bodies = Bodies()
        async with bodies.read(request([b"x" * 60])) as first:
            assert len(first) == 60
            with pytest.raises(Refused, match=r"server busy, please try again\.  maximum"):
                async with bodies.read(request([b"x" * 30, b"x" * 30])):
                    pass
            async with bodies.read(request([b"x" * 40])):
                pass
        async with bodies.read(request([b"x" * 100])):
            pass
        with pytest.raises(Refused) as caught:
            async with bodies.read(request([b"x" * 50, None])):
                pass
        assert caught.value.status == 408
        async with bodies.read(request([b"x" * 100])):
            pass

    monkeypatch.setattr("prefect_ollama.blocks.embedded._guard.MAX_BODIES_BYTES", 100)
    monkeypatch.setattr("prefect_ollama.blocks.embedded._guard.BODY_TIMEOUT_S", 0.1)
    asyncio.run(run())


@pytest.mark.parametrize("port", [-1, 65536, 70000, 10**30])
def test_a_port_that_is_none_is_named(port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{port} is no port: ports go from 1 to 65535"):
        serve(port=port)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"port {port}: another program listens there") as caught:
            serve(port=port)
    assert "Choose another port" in str(caught.value)


def test_the_command_names_a_port_that_it_cannot_have() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port, words in ((taken.getsockname()[1], "another program listens there"), (70000, "is no port")):
            command = (sys.executable, "-m", "prefect_ollama", "node", "--port", str(port))
            done = subprocess.run(command, capture_output=True, text=True, timeout=240)
            assert done.returncode == 2
            assert words in done.stderr
            assert "Traceback" not in done.stderr
            assert not done.stdout


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 70 + ".example"])
def test_an_address_of_another_host_is_named(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Name an address of this host|Choose another"):
        serve(host=host, port=0)


class WatchedModel(EmbeddingModel):
    """The real model, which tells what it embeds, and can be held up before the first text."""

    def __init__(self) -> None:
        super().__init__()
        self.embedded: list[list[int]] = []
        self.began = threading.Event()
        self.may_go_on = threading.Event()

    def embed(self, ids: list[int]) -> npt.NDArray[np.float32]:
        self.began.set()
        assert self.may_go_on.wait(240)
        self.embedded.append(ids)
        return super().embed(ids)


@pytest.fixture
def watched() -> Iterator[tuple[WatchedModel, httpx.Client]]:
    """A node in this process, so that one can look into it."""
    model = WatchedModel()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        app = create_app(model, loopback=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=url, timeout=240) as client:
            yield model, client
        model.may_go_on.set()
        server.should_exit = True
        thread.join(240)
        assert not thread.is_alive()


def test_answers_other_requests_while_it_embeds(watched: tuple[WatchedModel, httpx.Client]) -> None:
    model, client = watched
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(embed, client, "a text")
        assert model.began.wait(240)
        assert client.get("/api/ps").status_code == 200
        assert embed(client, "x", truncate="no").status_code == 400
        assert not long.done()
        model.may_go_on.set()
        assert long.result().status_code == 200


def test_serves_one_request_whole_before_the_next(watched: tuple[WatchedModel, httpx.Client]) -> None:
    model, client = watched
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(embed, client, ["one", "one", "one"])
        assert model.began.wait(240)
        second = pool.submit(embed, client, "two")
        model.may_go_on.set()
        assert (first.result().status_code, second.result().status_code) == (200, 200)
    one, two = (model.tokenizer.encode(text) for text in ("one", "two"))
    assert model.embedded == [one, one, one, two]


def test_a_client_that_goes_away_frees_the_node(watched: tuple[WatchedModel, httpx.Client]) -> None:
    model, client = watched
    body = json.dumps({"model": "all-minilm", "input": [FITS] * 200})
    gone = http.client.HTTPConnection(client.base_url.host, client.base_url.port)
    gone.request("POST", "/api/embed", body)
    assert model.began.wait(240)
    gone.close()
    model.may_go_on.set()
    assert embed(client, "a text").status_code == 200
    # It came after the 200 long ones, and did not wait for them.
    assert len(model.embedded) < 200


@pytest.mark.slow
def test_stops_without_working_off_the_queue(
    watched: tuple[WatchedModel, httpx.Client], request: pytest.FixtureRequest
) -> None:
    model, client = watched
    body = json.dumps({"model": "all-minilm", "input": [FITS] * 1000})
    waiting = http.client.HTTPConnection(client.base_url.host, client.base_url.port)
    waiting.request("POST", "/api/embed", body)
    request.addfinalizer(waiting.close)
    assert model.began.wait(240)
    # The fixture stops the node now, and fails if it does not end in time.
