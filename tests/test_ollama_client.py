"""The client of Ollama's API: what it sends, which answers it accepts, and which error each failure becomes."""

from __future__ import annotations

import asyncio
import pickle
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from prefect_ollama.blocks.errors import (
    ConfigurationError,
    InputRejected,
    NodeAnswerError,
    NodeBusy,
    NodeError,
    NodeFailed,
    NodeRefused,
    NodeUnreachable,
)
from prefect_ollama.blocks.nodes import _errors as faults
from prefect_ollama.blocks.nodes._model_info import loaded_models
from prefect_ollama.blocks.nodes._ollama import OllamaEndpoint
from prefect_ollama.blocks.nodes.embed_response import Answer, read_answer
from prefect_ollama.blocks.nodes.endpoint import LoadedModel, find_model
from prefect_ollama.blocks.nodes.spec import ModelSpec, NodeSpec
from tests.nodes import EOF, Node, expected_vector

DIMENSION = 16
TEXTS = ["one", "two", "three"]


@pytest.fixture(scope="module")
def shared() -> Iterator[Node]:
    with Node(dimension=DIMENSION) as node:
        yield node


@pytest.fixture
def node(shared: Node) -> Iterator[Node]:
    yield shared
    shared.heal()
    shared.wait(listening=1)
    shared.reset()


def embed(node: Node, texts: list[str] = TEXTS, *, timeout: float = 60.0, **changes: Any) -> Answer:
    async def call() -> Answer:
        spec = NodeSpec(**{"name": "it", "url": node.url} | changes)
        async with OllamaEndpoint(spec, ModelSpec("nomic-embed-text", num_ctx=512)) as client:
            return await client.embed(texts, timeout=timeout)

    return asyncio.run(call())


def test_vectors_in_order(node: Node) -> None:
    answer = embed(node)
    assert answer.vectors.dtype == np.float32
    np.testing.assert_allclose(answer.vectors, [expected_vector(t, DIMENSION) for t in TEXTS], atol=1e-6)
    assert answer.tokens == 4


def test_connections_are_kept(node: Node) -> None:
    async def call() -> None:
        async with OllamaEndpoint(NodeSpec("it", node.url), ModelSpec("nomic-embed-text")) as client:
            for _ in range(5):
                await client.embed(TEXTS, timeout=60)
            await asyncio.gather(*(client.embed(TEXTS, timeout=60) for _ in range(3)))

    before = node.stats()["connections"]
    asyncio.run(call())
    assert node.stats()["connections"] - before <= 3


def test_a_connection_that_the_node_closed_is_replaced(node: Node) -> None:
    async def call() -> None:
        async with OllamaEndpoint(NodeSpec("it", node.url), ModelSpec("nomic-embed-text")) as client:
            await client.embed(TEXTS, timeout=60)
            await asyncio.to_thread(node.control, faults=["down"])
            await asyncio.to_thread(node.control, faults=[])
            await asyncio.to_thread(node.wait, listening=1)
            await client.embed(TEXTS, timeout=60)

    asyncio.run(call())


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("http400", InputRejected, "rejects a text"),
        ("http429", NodeBusy, "busy"),
        ("http500", NodeFailed, "internal server error"),
        ("http502", NodeFailed, "bad gateway"),
        ("http503", NodeBusy, "maximum pending requests"),
        ("eof400", NodeFailed, "EOF"),
        ("eof500", NodeFailed, "EOF"),
        ("nan400", NodeFailed, "NaN"),
        ("too_long", InputRejected, "model's context"),
        ("missing_model", NodeRefused, "ollama pull nomic-embed-text"),
        ("unauthorized", NodeRefused, "credentials"),
        ("forbidden", NodeRefused, "OLLAMA_HOST"),
        ("no_embedding", NodeRefused, "cannot embed"),
        ("redirect", NodeRefused, "/login"),
        ("html", NodeAnswerError, "no embedding"),
        ("half_json", NodeAnswerError, "JSON"),
        ("wrong_count", NodeAnswerError, "2 vectors for 3 texts"),
        ("wrong_dimension", NodeAnswerError, "15 dimensions where 16"),
        ("ragged", NodeAnswerError, "unequal length"),
        ("nan", NodeAnswerError, "JSON"),
        ("inf", NodeAnswerError, "JSON"),
        ("null", NodeAnswerError, "norm nan"),
        ("null_vector", NodeAnswerError, "vectors"),
        ("zero", NodeAnswerError, "norm 0"),
        ("unnormalised", NodeAnswerError, "norm 2"),
        ("close", NodeUnreachable, "broke off"),
        ("reset", NodeUnreachable, "broke off"),
        ("short_body", NodeUnreachable, "broke off"),
        ("hang", NodeUnreachable, "within 0.5 s"),
        ("drip", NodeUnreachable, "within 0.5 s"),
        ("down", NodeUnreachable, "cannot be connected"),
    ],
)
def test_each_failure_has_its_kind(node: Node, fault: str, kind: type[NodeError], words: str) -> None:
    node.control(faults=[fault])

    async def call() -> None:
        async with OllamaEndpoint(NodeSpec("it", node.url), ModelSpec("nomic-embed-text")) as client:
            # The node never answers the faults that end at the limit; it has time to answer the others.
            timeout = 0.5 if "within" in words else 60
            await client.embed(TEXTS, timeout=timeout, dimension=DIMENSION)

    with pytest.raises(kind, match=words) as caught:
        asyncio.run(call())
    assert type(caught.value) is kind
    assert caught.value.node == "it"
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.status) == (str(caught.value), caught.value.status)


def test_a_body_without_end_is_cut_off(node: Node) -> None:
    node.control(faults=[{"name": "huge", "size": 32 * 2**20}])
    with pytest.raises(NodeAnswerError, match="MiB"):
        embed(node)


def test_basic_authentication_and_headers() -> None:
    headers = {"Authorization": "Basic bWU6aHVzaA==", "X-Team": "blue"}
    with Node(dimension=DIMENSION, headers=headers, prefix="/ollama") as node:
        secret = (("x-team", SecretStr("blue")),)
        embed(node, username="me", password=SecretStr("hush"), headers=secret)
        with pytest.raises(NodeRefused, match="credentials") as caught:
            embed(node, username="me", password=SecretStr("wrong-hush"), headers=secret)
        assert "wrong-hush" not in str(caught.value)
        with pytest.raises(NodeRefused, match="path prefix"):
            embed(
                node,
                url=node.url.removesuffix("/ollama"),
                username="me",
                password=SecretStr("hush"),
                headers=secret,
            )


def test_tls_with_a_private_ca() -> None:
    with Node(dimension=DIMENSION, tls=True) as node:
        embed(node, ca_bundle=node.ca_file)
        embed(node, verify=False)
        with pytest.raises(NodeUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            embed(node)
        with pytest.raises(ConfigurationError, match="cannot be read"):
            embed(node, ca_bundle="/does/not/exist.pem")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1:1", "http://", "http://127.0.0.1:99999"])
def test_a_url_that_cannot_work_is_a_node_error(node: Node, url: str) -> None:
    with pytest.raises(NodeError, match="it"):
        embed(node, url=url)


def test_options_are_always_the_same_and_nothing_is_cut(node: Node) -> None:
    node.control(context_length=512)
    embed(node)
    node.reset()
    embed(node, ["x" * 2000])
    assert node.stats()["loads"] == 0
    with pytest.raises(InputRejected) as caught:
        embed(node, ["x" * 2100])
    assert caught.value.too_long


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2.0),
        ("0.5", 0.5),
        ("-1", 0.0),
        ("nan", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("soon", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert faults.retry_after(value) == seconds


@pytest.mark.parametrize(
    "words",
    [EOF, "health resp: connection refused", "llama runner process no longer running: -1", "no slots"],
)
@pytest.mark.parametrize("status", [400, 500])
def test_what_may_pass_is_no_ones_text(words: str, status: int) -> None:
    body = orjson.dumps({"error": words})
    assert type(faults.from_response("it", status, httpx.Headers(), body, model="m")) is NodeFailed


def test_errors_in_the_other_shape_and_in_none() -> None:
    body = orjson.dumps({"error": {"message": "input length exceeds the context length", "code": 400}})
    error = faults.from_response("it", 400, httpx.Headers(), body, model="m")
    assert isinstance(error, InputRejected)
    assert error.too_long
    for junk in (b"", b"\xff\xfe", b"[]", b'{"error": null}', b"x" * 10_000):
        assert len(str(faults.from_response("it", 500, httpx.Headers(), junk, model="m"))) < 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["embeddings", "x"]), inner, max_size=2)
    ),
    max_leaves=12,
)


@given(JSON, st.integers(1, 3))
def test_no_answer_is_believed_by_chance(data: Any, count: int) -> None:
    try:
        body = orjson.dumps(data)
    except orjson.JSONEncodeError:
        return
    for sent in (body, body[:-1], b'{"embeddings":' + body + b"}"):
        try:
            answer = read_answer(sent, ["x"] * count, dimension=None, node="it")
        except NodeAnswerError:
            continue
        assert answer.vectors.shape[0] == count
        np.testing.assert_allclose(np.linalg.norm(answer.vectors, axis=1), 1.0, atol=0.02)


# What it has in memory


def test_what_is_loaded_is_told_with_its_place_and_time(node: Node) -> None:
    async def loaded() -> tuple[LoadedModel, ...]:
        async with OllamaEndpoint(NodeSpec("it", node.url), ModelSpec("nomic-embed-text")) as client:
            before = await client.loaded()
            assert before == []
            await client.embed(TEXTS, timeout=60)
            return loaded_models(await client.loaded())

    node.restart()
    node.control(on_gpu=0.25)
    (model,) = asyncio.run(loaded())
    assert model.name == "nomic-embed-text:latest"
    assert model.on_gpu == pytest.approx(0.25)
    assert model.context == 2048
    assert not model.stays
    assert find_model([model], "nomic-embed-text") == model
    assert find_model([model], "nomic-embed-text:v1.5") is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"name": "m"}, LoadedModel("m")),
        ({"model": "m", "size": "big", "size_vram": -1, "expires_at": 7}, LoadedModel("m")),
        ({"name": "m", "size": 4, "size_vram": 8}, LoadedModel("m", 4, 8)),
    ],
)
def test_what_is_not_said_of_a_loaded_model_is_unknown(entry: dict[str, Any], expected: LoadedModel) -> None:
    assert loaded_models([entry, "no entry", None]) == (expected,)
    assert expected.on_gpu in (None, 1.0)


def test_a_model_that_stays_loaded_is_seen_by_its_time() -> None:
    # Ollama's own words for `keep_alive: -1`, with the nanoseconds that Go writes.
    (model,) = loaded_models([{"name": "m", "expires_at": "2318-06-04T12:00:00.123456789+02:00"}])
    assert model.stays


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize(
    ("said", "kind", "too_long"),
    [
        ("Failed to create new sequence: the input length exceeds the context length", InputRejected, True),
        ("input (992 tokens) is too large to process. increase the physical batch size", InputRejected, True),
        ("prompt too long; exceeded max context length by 100 tokens", InputRejected, True),
        ("prompt is too long: 200000 tokens > 128000 maximum", InputRejected, True),
        ('"llama3" does not support embeddings', NodeRefused, None),
        ('do embedding request: Post "http://127.0.0.1:33967/embedding": EOF', NodeFailed, None),
        ("failed to encode response: json: unsupported value: NaN", NodeFailed, None),
    ],
)
def test_the_message_says_whose_fault_it_is(
    status: int, said: str, kind: type[NodeError], too_long: bool | None
) -> None:
    body = orjson.dumps({"error": said})
    error = faults.from_response("it", status, httpx.Headers(), body, model="m")
    assert type(error) is kind
    assert getattr(error, "too_long", None) == too_long


def test_of_the_page_of_a_proxy_the_title_is_shown() -> None:
    body = b"<html>\r\n<head><title>504 Gateway Time-out</title></head>\r\n<body><center>nginx</center></body></html>"
    error = faults.from_response("it", 504, httpx.Headers(), body, model="m")
    assert error.cause == "Node 'it': failed (504 '504 Gateway Time-out')."


class TestConnectTimeout:
    def test_a_pause_of_this_process_is_not_blamed_on_the_node(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect = asyncio.SelectorEventLoop.sock_connect

        async def paused(loop: asyncio.SelectorEventLoop, sock: socket.socket, address: Any) -> None:
            connecting = loop.create_task(connect(loop, sock, address))
            await asyncio.sleep(0)
            # The event loop stands still, as that of a process without a core does.
            time.sleep(0.5)  # noqa: ASYNC251
            await connecting

        monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", paused)
        assert len(embed(node, connect_timeout=0.2).vectors) == len(TEXTS)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_node_that_does_not_answer_the_connection_is_unreachable(self, node: Node, scheme: str) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.socket() as first:
            host, port = server.getsockname()
            if scheme == "http":
                # The queue is full, so the system drops the next connection. For TLS, the handshake gets no answer.
                first.connect((host, port))
            with pytest.raises(NodeUnreachable, match="cannot be connected in time"):
                embed(node, url=f"{scheme}://{host}:{port}", connect_timeout=0.2)
