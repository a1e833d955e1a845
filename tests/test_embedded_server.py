"""The embedded node over real HTTP: Ollama's answers, words and status codes."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import uvicorn
from packaging.version import Version

from prefect_ollama import __version__
from prefect_ollama.blocks.embedded.app import create_app
from prefect_ollama.blocks.embedded.model import DIGEST, EmbeddingModel
from prefect_ollama.blocks.embedded.nodes import EmbeddedNodes
from prefect_ollama.blocks.embedded.tokens import count_tokens

#: 512 tokens with their frame, and one more.
FITS = "word " * 510
TOO_LONG = "word " * 511


@pytest.fixture(scope="module")
def node() -> Iterator[httpx.Client]:
    with EmbeddedNodes(1) as nodes, httpx.Client(base_url=nodes.urls[0], timeout=30) as client:
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
        assert refusal(node.post("/api/show", json={"model": name})) == expected
    for name in ("", " ", "a b", "a:b:c", "/x"):
        assert refusal(embed(node, "a text", model=name)) == (400, "invalid model name")


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "all-minilm", "input": "x"',
        b"not json",
        b"[]",
        b"null",
        b'{"model": 7, "input": "x"}',
        b'{"model": "all-minilm", "input": "x", "truncate": "no"}',
        b'{"model": "all-minilm", "input": "x", "dimensions": true}',
        b'{"model": "all-minilm", "input": "x", "options": []}',
        b'{"model": "all-minilm", "input": "x", "options": {"num_ctx": "many"}}',
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


class WatchedModel(EmbeddingModel):
    """The real model, which tells what it embeds, and can be held up before the first text."""

    def __init__(self) -> None:
        super().__init__()
        self.embedded: list[list[int]] = []
        self.began = threading.Event()
        self.may_go_on = threading.Event()

    def embed(self, ids: list[int]) -> npt.NDArray[np.float32]:
        self.began.set()
        assert self.may_go_on.wait(30)
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
        with httpx.Client(base_url=url, timeout=30) as client:
            yield model, client
        model.may_go_on.set()
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def test_answers_other_requests_while_it_embeds(watched: tuple[WatchedModel, httpx.Client]) -> None:
    model, client = watched
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(embed, client, "a text")
        assert model.began.wait(30)
        assert client.get("/api/ps").status_code == 200
        assert embed(client, "x", truncate="no").status_code == 400
        assert not long.done()
        model.may_go_on.set()
        assert long.result().status_code == 200


def test_serves_one_request_whole_before_the_next(watched: tuple[WatchedModel, httpx.Client]) -> None:
    model, client = watched
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(embed, client, ["one", "one", "one"])
        assert model.began.wait(30)
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
    assert model.began.wait(30)
    gone.close()
    model.may_go_on.set()
    assert embed(client, "a text").status_code == 200
    # It came after the 200 long ones, and did not wait for them.
    assert len(model.embedded) < 200


def test_stops_without_working_off_the_queue(
    watched: tuple[WatchedModel, httpx.Client], request: pytest.FixtureRequest
) -> None:
    model, client = watched
    body = json.dumps({"model": "all-minilm", "input": [FITS] * 1000})
    waiting = http.client.HTTPConnection(client.base_url.host, client.base_url.port)
    waiting.request("POST", "/api/embed", body)
    request.addfinalizer(waiting.close)
    assert model.began.wait(30)
    # The fixture stops the node now, and fails if it does not end in time.
