"""Hostile answers of nodes: each ends as an error of that node, and harms no other node."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import pickle
import re
import resource
import tracemalloc
import zlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from prefect_ollama.blocks.errors import NodeAnswerError, NodeError, NodeFailed, NodeRefused, NodeUnreachable
from prefect_ollama.blocks.nodes import _ollama as client_module
from prefect_ollama.blocks.nodes._disclosure import Disclosure
from prefect_ollama.blocks.nodes._model_info import loaded_models, read_model_info, settle_context
from prefect_ollama.blocks.nodes._ollama import OllamaEndpoint
from prefect_ollama.blocks.nodes.canaries import SHORT
from prefect_ollama.blocks.nodes.check import check_node
from prefect_ollama.blocks.nodes.discovery import discover
from prefect_ollama.blocks.nodes.spec import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.verification import VerifiedCluster, verify_cluster
from tests.cases import most_slow
from tests.nodes import Node, expected_vector
from tests.raw_node import RawNode, Reply, answer, chunked
from tests.waiting import all_nodes_awaited

T = TypeVar("T")
MODEL = ModelSpec("m")
TAGS = {"models": [{"name": "m:latest", "digest": "0" * 64}]}
SHOW = {"capabilities": ["embedding"], "model_info": {"bert.context_length": 2048}}


def ask(
    replies: dict[str, Reply],
    call: Callable[[OllamaEndpoint], Awaitable[T]],
    *,
    within: float = 240.0,
    **node: Any,
) -> T:
    async def run(url: str) -> T:
        async with asyncio.timeout(within), OllamaEndpoint(NodeSpec("it", url, **node), MODEL) as client:
            return await call(client)

    with RawNode(replies) as raw:
        return asyncio.run(run(raw.url))


def verified(*nodes: NodeSpec) -> VerifiedCluster:
    with all_nodes_awaited():
        return asyncio.run(verify_cluster(ClusterSpec(nodes, MODEL)))


def unit(floats: int) -> list[float]:
    return [1.0] + [0.0] * (floats - 1)


# Bodies that are larger than they look


def test_we_ask_for_bodies_as_they_are() -> None:
    with RawNode({"/api/version": answer({"version": "1"})}) as raw:

        async def run() -> None:
            # A header of the configuration does not change that.
            given = (("Accept-Encoding", SecretStr("gzip, deflate")),)
            async with OllamaEndpoint(NodeSpec("it", raw.url, headers=given), MODEL) as client:
                await client.version()

        asyncio.run(run())
        (head,) = raw.heads
    lines = [line for line in head.lower().splitlines() if line.startswith(b"accept-encoding")]
    assert lines == [b"accept-encoding: identity"]


BOMB = gzip.compress(gzip.compress(b" " * 2**26, 1), 9)


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip", "deflate", "br", "zstd", "identity, gzip", "GZIP"])
@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_compressed_answer_is_refused_before_it_is_decoded(coding: str, status: int) -> None:
    body = zlib.compress(b"{}") if coding == "deflate" else BOMB
    reply = answer(body, status, Content_Encoding=coding)
    tracemalloc.start()
    with pytest.raises(NodeError) as caught:
        ask({"/api/version": reply}, lambda client: client.version())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24
    assert isinstance(caught.value, NodeAnswerError if status == 200 else NodeError)
    if status == 200:
        assert "Accept-Encoding: identity" in str(caught.value)


def test_several_headers_of_an_encoding_are_one() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"
    with pytest.raises(NodeAnswerError, match="compresses"):
        ask({"/api/version": head}, lambda client: client.version())


def test_identity_is_no_encoding() -> None:
    reply = answer({"version": "0.33.0"}, Content_Encoding="identity")
    assert ask({"/api/version": reply}, lambda client: client.version()) == "0.33.0"


def test_a_list_of_millions_of_lists_is_not_parsed() -> None:
    body = b'{"embeddings":[' + b"[]," * 2**22 + b"[]]}"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NodeAnswerError):
        ask(
            {"/api/embed": answer(body)},
            lambda client: client.embed(["x"] * 128, timeout=60, dimension=None),
        )
    # Parsed, it would take some 400 MB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("/api/version", lambda client: client.version()),
        ("/api/tags", lambda client: client.models()),
        ("/api/ps", lambda client: client.loaded()),
        ("/api/show", lambda client: client.show()),
        ("/api/embed", lambda client: client.embed(["x"], timeout=60, dimension=8)),
    ],
)
@pytest.mark.parametrize("filling", [b"[],", b"{},", b"0,", b" ", b'"' + b"a" * 1000 + b'",'])
@pytest.mark.sampled(10)
def test_each_answer_has_its_bound(
    path: str, call: Callable[[OllamaEndpoint], Awaitable[Any]], filling: bytes
) -> None:
    size = 9 * 2**20
    body = b'{"models":[' + filling * (size // len(filling)) + b"0]}"
    with pytest.raises(NodeAnswerError):
        ask({path: answer(body)}, call)


def test_deep_nesting_is_an_error_of_the_node() -> None:
    for depth in (100, 2000, 100_000):
        body = b'{"version":' + b"[" * depth + b"]" * depth + b"}"
        with pytest.raises(NodeAnswerError):
            ask({"/api/version": answer(body)}, lambda client: client.version())


def test_the_bound_follows_what_was_asked_for() -> None:
    # 128 vectors of 384 as Ollama writes them, and as doubles with indentation.
    for pretty in (False, True):
        vector = np.random.default_rng(0).normal(size=384)
        vector /= np.linalg.norm(vector)
        rows = [[float(x) for x in vector]] * 128
        body = orjson.dumps({"embeddings": rows}, option=orjson.OPT_INDENT_2 if pretty else 0)
        got = ask(
            {"/api/embed": answer(body)},
            lambda client: client.embed(["x"] * 128, timeout=60, dimension=384),
        )
        assert got.vectors.shape == (128, 384)


def test_an_answer_in_single_bytes_is_broken_off() -> None:
    def pieces() -> Iterator[bytes]:
        yield from chunked(itertools.repeat(b" ", 2**19), "application/json")

    with pytest.raises(NodeAnswerError, match="pieces of a byte"):
        ask({"/api/tags": lambda _: pieces()}, lambda client: client.models())


def test_a_slow_drip_ends_at_the_deadline_also_in_an_error() -> None:
    def drip() -> Iterator[bytes]:
        yield b"HTTP/1.1 500 Oh\r\nContent-Length: 1000000\r\n\r\n"
        while True:
            yield b"x"
            # The node's own pace; the client's deadline ends it.
            import time

            time.sleep(0.05)

    with pytest.raises(NodeUnreachable, match="whole answer within"):
        ask({"/api/embed": lambda _: drip()}, lambda client: client.embed(["x"], timeout=0.5))


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2**20 + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"y" * 2**20,
        b"HTTP/1.1 99999 Hm\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 204 No\r\n\r\n",
        b"",
    ],
)
def test_what_is_no_http_is_an_error_of_the_node(head: bytes) -> None:
    with pytest.raises(NodeError) as caught:
        ask({"/api/version": head}, lambda client: client.version(), within=20)
    assert len(str(caught.value)) < 400


# Pulling


def pull(lines: Iterator[bytes], **node: Any) -> list[tuple[str, int, int]]:
    told: list[tuple[str, int, int]] = []
    ask(
        {"/api/pull": lambda _: chunked(lines)},
        lambda client: client.pull(lambda _, *step: told.append(step)),
        **node,
    )
    return told


def test_a_pull_in_one_endless_line_is_broken_off() -> None:
    with pytest.raises(NodeAnswerError, match="line without end"):
        pull(itertools.repeat(b"a" * 4096))


def test_a_pull_without_end_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_ollama.blocks.nodes._body.MAX_STREAM_BYTES", 2**20)
    steps = (orjson.dumps({"status": "pulling manifest", "completed": i}) + b"\n" for i in itertools.count())
    with pytest.raises(NodeAnswerError, match="more than Ollama"):
        pull(steps)
    monkeypatch.setattr("prefect_ollama.blocks.nodes._body.MAX_LINES", 1000)
    with pytest.raises(NodeAnswerError, match="more than Ollama"):
        pull(itertools.repeat(b"\n" * 100))


def test_a_pull_without_progress_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PULL_SILENCE_S", 0.3)
    with pytest.raises(NodeUnreachable, match="no progress"):
        pull(itertools.repeat(b'{"status":"pulling manifest"}\n', 10_000_000))
    monkeypatch.setattr(client_module, "PULL_TIMEOUT_S", 0.3)
    counting = (orjson.dumps({"status": "x", "completed": i, "total": 1}) + b"\n" for i in itertools.count())
    with pytest.raises(NodeUnreachable, match="no progress"):
        pull(counting)


@pytest.mark.parametrize(
    "line",
    [
        b"5",
        b"[]",
        b'"x"',
        b"{",
        b'{"status":5}',
        b'{"status":["success"]}',
        b"[" * 60000,
        b"\xff",
        b'{"a":NaN}',
    ],
)
def test_a_line_of_a_pull_that_is_none_is_an_error(line: bytes) -> None:
    with pytest.raises(NodeAnswerError, match="/api/pull"):
        pull(iter([line + b"\n"]))


def test_the_figures_of_a_pull_are_believed_only_if_they_can_be() -> None:
    wild = [{"completed": -1, "total": 10**30}, {"completed": True, "total": "x"}, {"completed": 1.5}]
    lines = [orjson.dumps({"status": "pulling 0a1b2c3d4e5f"} | each) for each in wild[1:]]
    lines.append(b'{"status":"pulling 0a1b2c3d4e5f","completed":-1,"total":1000000000000000000000000000000}')
    lines += [b'{"status":"\x1b[31mred"}'.replace(b"\x1b", b"\\u001b"), b'{"status":"success"}']
    told = pull(iter([b"\n".join(lines)]))
    assert told == [("pulling a layer", 0, 0)] * 3 + [("pulling", 0, 0), ("success", 0, 0)]


# Types


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/version", {"version": ["0", "33"]}),
        pytest.param("/api/version", {"version": 33}, marks=pytest.mark.slow),
        ("/api/version", [1]),
        ("/api/tags", {"models": 5}),
        pytest.param("/api/tags", {"models": {"m": 1}}, marks=pytest.mark.slow),
        pytest.param("/api/tags", {"models": ["m"]}, marks=pytest.mark.slow),
        pytest.param("/api/tags", {"models": [None]}, marks=pytest.mark.slow),
        pytest.param("/api/tags", {"models": [{"name": ["m"]}]}, marks=pytest.mark.slow),
        ("/api/tags", {"models": [{"name": "m", "digest": 5}]}),
        ("/api/tags", {"models": [{"name": "m", "digest": "\x1b[31m"}]}),
        pytest.param("/api/tags", {"models": [{"name": "m" * 100_000}]}, marks=pytest.mark.slow),
        ("/api/show", {"capabilities": 5}),
        pytest.param("/api/show", {"capabilities": [5]}, marks=pytest.mark.slow),
        pytest.param("/api/show", {"capabilities": "embedding"}, marks=pytest.mark.slow),
        pytest.param("/api/show", {"capabilities": ["embedding"], "model_info": 5}, marks=pytest.mark.slow),
        ("/api/show", {"capabilities": ["embedding"], "model_info": ["a.context_length"]}),
        ("/api/show", 5),
    ],
)
def test_one_malformed_answer_leaves_the_healthy_node_to_work(path: str, body: Any) -> None:
    replies: dict[str, Reply] = {
        "/api/version": answer({"version": "0.33.0"}),
        "/api/tags": answer(TAGS),
        "/api/show": answer(SHOW),
        path: answer(body),
    }
    with Node(models=["m"], dimension=16) as good, RawNode(replies) as bad:
        each = (NodeSpec("bad", bad.url), NodeSpec("good", good.url))
        proven = verified(*each)
    assert set(proven.verifications) == {"good"}
    error = proven.left_out["bad"]
    assert type(error) is NodeAnswerError
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("context", "used"),
    [
        (-7, 0), (0, 0), (1, 0), (63, 0), (64, 64), (512, 512), (2**24, 2**24), (2**24 + 1, 0), (10**12, 0),
        (True, 0), (512.0, 0), ("512", 0), (None, 0), ([512], 0), ({"a": 512}, 0),
    ],
)  # fmt: skip
def test_a_context_that_no_model_has_is_not_used(context: Any, used: int) -> None:
    assert read_model_info({"model_info": {"bert.context_length": context}}).context == used


def test_the_context_is_that_of_the_models_own_architecture() -> None:
    info = {"clip.context_length": 77, "general.architecture": "bert", "bert.context_length": 512}
    assert read_model_info({"model_info": info}).context == 512
    assert (
        read_model_info({"model_info": {"general.architecture": ["x"], "bert.context_length": 512}}).context
        == 512
    )


@pytest.mark.parametrize(
    ("contexts", "settled", "out"),
    [
        ({}, None, set()),
        ({"a": 0, "b": 0}, None, set()),
        ({"a": 512}, 512, set()),
        ({"a": 8192}, 2048, set()),
        ({"a": 64}, 64, set()),
        ({"a": 64, "b": 0}, None, set()),  # the word of one node is not enough to shorten the others' texts
        ({"a": 512, "b": 0}, 512, set()),
        ({"a": 64, "b": 512}, 512, set()),
        ({"a": 10**6, "b": 512}, 2048, set()),
        ({"a": 64, "b": 512, "c": 512}, 512, {"a"}),
        ({"a": 2**24, "b": 512, "c": 512}, 512, set()),
        ({"a": 64, "b": 8192, "c": 2048}, 2048, {"a"}),
        ({"a": 64, "b": 64, "c": 512}, 64, set()),
    ],
)
def test_no_node_decides_the_context_for_all(
    contexts: dict[str, int], settled: int | None, out: set[str]
) -> None:
    tokens, left_out = settle_context(contexts, cap=2048)
    assert tokens == settled
    assert set(left_out) == out
    assert all(isinstance(error, NodeRefused) and error.node == name for name, error in left_out.items())


WORDS = st.sampled_from(
    [
        "models", "name", "model", "digest", "version", "capabilities", "model_info", "general.architecture",
        "bert.context_length", "embedding_length", "embeddings", "prompt_eval_count", "error", "message", "status",
        "size", "size_vram", "expires_at", "context_length", "embedding", "success", "completed", "total", "m:latest",
    ]
)  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | WORDS
    | st.sampled_from(["9999-99-99", "0000-01-01T00:00:00Z", "\ud800", "NaN"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@pytest.fixture(scope="module")
def mirror() -> Iterator[tuple[RawNode, dict[str, bytes]]]:
    """A node that answers every path with the bytes in a dict."""
    said: dict[str, bytes] = {}
    with RawNode({"*": lambda _: said["body"]}) as raw:
        yield raw, said


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(value=VALUES, status=st.sampled_from([200, 200, 200, 400, 404, 500, 503]), broken=st.booleans())
def test_any_json_at_any_path_is_an_answer_or_an_error_of_the_node(
    mirror: tuple[RawNode, dict[str, bytes]], value: Any, status: int, broken: bool
) -> None:
    import json

    raw, said = mirror
    text = json.dumps(value).encode()  # NaN, Infinity, huge numbers and lone surrogates included
    said["body"] = answer(text[:-1] if broken else text, status)
    spec = NodeSpec("it", raw.url, read_timeout=60)

    async def run() -> None:
        async with OllamaEndpoint(spec, MODEL) as client:
            calls: list[Callable[[], Awaitable[Any]]] = [
                client.version,
                client.models,
                client.loaded,
                client.show,
                client.pull,
                lambda: client.embed(SHORT, timeout=60),
            ]
            for call in calls:
                caught, got = None, None
                try:
                    got = await call()
                except NodeError as error:
                    caught = error
                if caught is not None:
                    assert caught.node == "it"
                    assert str(pickle.loads(pickle.dumps(caught))) == str(caught)
                elif call == client.loaded:
                    for model in loaded_models(got):
                        assert model.on_gpu is None or 0 <= model.on_gpu <= 1
                        assert model.stays in (True, False)
        found = await check_node(spec)
        assert isinstance(found.ok, bool)
        host, _, port = raw.url.removeprefix("http://").partition(":")
        assert len(await discover([host], [int(port)], timeout=5)) == found.ok

    asyncio.run(run())


def test_a_token_count_that_cannot_be_counts_as_none() -> None:
    for count in (-1, 10**18, True, "5", 1.5, [1]):
        body = {"embeddings": [unit(8)], "prompt_eval_count": count}
        assert ask({"/api/embed": answer(body)}, lambda client: client.embed(["x"], timeout=60)).tokens == 0


# Secrets


SECRET = "Zq7-kW2!x9/vT4+pLm8"
PIECES = [SECRET[at : at + 5] for at in range(0, len(SECRET), 5)]
FORMS = {
    "plain": SECRET,
    "with its scheme": f"Bearer {SECRET}",
    "reversed": SECRET[::-1],
    "upper case": SECRET.upper(),
    "base64": b64encode(SECRET.encode()).decode(),
    "base64 of the header": b64encode(f"Bearer {SECRET}".encode()).decode(),
    "base64 for URLs": urlsafe_b64encode(SECRET.encode()).decode(),
    "base64, reversed": b64encode(SECRET.encode()).decode()[::-1],
    "hex": SECRET.encode().hex(),
    "URL-encoded": quote(SECRET, safe=""),
    "all of it URL-encoded": "".join(f"%{each:02x}" for each in SECRET.encode()),
    "cut": SECRET[:9],
    "its end": SECRET[9:],
    "split": " | ".join(PIECES),
    "split by letters": ".".join(SECRET),
    "ROT13": SECRET.translate(str.maketrans("abcdefghijklmnopqrstuvwxyz", "nopqrstuvwxyzabcdefghijklm")),
    "numbers": " ".join(str(each) for each in SECRET.encode()),
}
WITH_SECRET = {"headers": (("Authorization", SecretStr(f"Bearer {SECRET}")),)}


def leaks(form: str, text: str) -> bool:
    """Whether a text holds four characters in a row of what the node sent."""
    return any(form[at : at + 4] in text for at in range(max(1, len(form) - 3)))


CALLS: list[tuple[str, Callable[[OllamaEndpoint], Awaitable[Any]]]] = [
    ("/api/version", lambda client: client.version()),
    ("/api/tags", lambda client: client.models()),
    ("/api/show", lambda client: client.show()),
    ("/api/embed", lambda client: client.embed(["x"], timeout=60)),
    ("/api/pull", lambda client: client.pull()),
]


@pytest.mark.parametrize("name", most_slow(FORMS, but=["reversed", "base64", "split", "cut"]))
@pytest.mark.sampled(2)
def test_a_secret_that_comes_back_in_another_form_is_in_no_error(name: str) -> None:
    form = FORMS[name]
    text = form.encode()
    replies: list[Reply] = [
        *(answer({"error": form}, status) for status in (400, 401, 403, 404, 405, 413, 429, 500, 501, 503)),
        *(answer({"error": {"message": form}}, status) for status in (400, 500)),
        answer(text, 502),
        answer(text),
        answer([form]),
        answer({form: form}),
        answer({"error": form}),
        answer({"models": form, "capabilities": form, "version": [form], "embeddings": form}),
        answer({"models": [{"name": "m", "digest": f"{form}!"}], "capabilities": [form]}),
        answer(b"", 307, Location=f"http://{form}.example/"),
        b"HTTP/1.1 200 " + text + b"\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 " + text + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + text + b"\r\n\r\n",
        answer(b"{}", Content_Encoding=form),
        answer(b"{}", 503, Retry_After=form),
        answer(b"short", Content_Length="500", X=form),
    ]

    async def run(raw: RawNode) -> None:
        for reply, (_, call) in itertools.product(replies, CALLS):
            raw.replies["*"] = reply
            shown = ""
            async with OllamaEndpoint(NodeSpec("it", raw.url, **WITH_SECRET), MODEL) as client:  # type: ignore[arg-type]
                try:
                    await call(client)
                except NodeError as error:
                    behind = f"{error.__cause__} {error.__context__}"
                    shown = f"{error!s} {error!r} {error.args} {behind} {pickle.dumps(error)!r}"
            assert not leaks(form, shown), (reply, shown)

    with RawNode({}) as raw:
        asyncio.run(run(raw))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_secret_that_comes_back_is_in_nothing_that_a_check_shows(form: str) -> None:
    pieces = [{"name": piece.replace(" ", "")} for piece in form.split(" | ")]
    replies: dict[str, Reply] = {
        "/api/version": answer({"version": form}),
        "/api/tags": answer({"models": [{"name": form}, *pieces, {"name": "nomic-embed-text:latest"}]}),
        "/api/ps": answer({"models": [{"name": form, "expires_at": form, "size": 5}]}),
    }
    with RawNode(replies) as raw:
        found = asyncio.run(check_node(NodeSpec("it", raw.url, **WITH_SECRET)))
        proven = asyncio.run(_left_out(NodeSpec("it", raw.url, **WITH_SECRET)))
    if form not in (FORMS["ROT13"], FORMS["numbers"], FORMS["split by letters"]):  # names hold no such forms
        # Ports and seconds are digits of our own, and four of them may stand in a form.
        assert not leaks(form, re.sub(r":\d+|\d+\.\d+", "", f"{found} {proven}"))
    assert found.ok
    assert found.version == "unknown"


async def _left_out(spec: NodeSpec) -> str:
    from prefect_ollama.blocks.errors import ClusterError

    with pytest.raises(ClusterError) as caught:
        await verify_cluster(ClusterSpec((spec,), MODEL))
    return f"{caught.value} {caught.value.causes}"


def test_ollamas_own_words_and_names_are_shown_also_with_a_secret() -> None:
    words = 'do embedding request: Post "http://127.0.0.1:1/v1/embeddings": EOF'
    with pytest.raises(NodeFailed, match=r"failed \(400 'EOF'\)"):
        ask({"/api/embed": answer({"error": words}, 400)}, CALLS[3][1], **WITH_SECRET)
    disclosure = Disclosure.of(NodeSpec("it", "http://x", **WITH_SECRET))  # type: ignore[arg-type]
    assert disclosure.names(["nomic-embed-text:latest", "bge-m3:567m"]) == [
        "nomic-embed-text:latest",
        "bge-m3:567m",
    ]
    for version, shown in [
        ("0.33.0-rc2", "0.33.0-rc2"), ("0.24.0", "0.24.0"), ("v0.5.7", "0.5.7"), ("0.5.7-0-ga420a45-dirty", "0.5.7"),
        ("0.0.0+prefect-ollama.0.1.0", "0.0.0+prefect-ollama.0.1.0"), ("1.2.3.4.5", "unknown"),
        ("0.0.0+prefect-ollama.0.1.0.dev3", "0.0.0+prefect-ollama.0.1.0"), ("0.0.0+other.1", "0.0.0"),
        ("Zq7", "unknown"), ("", ""),
    ]:  # fmt: skip
        assert disclosure.version(version) == shown


def test_a_numeric_secret_is_no_version() -> None:
    disclosure = Disclosure.of(NodeSpec("it", "http://x", password=SecretStr("123456789"), username="me"))
    assert disclosure.version("123.456.789") == "unknown"
    assert disclosure.version("987.654.321") == "unknown"
    assert disclosure.version("0.0.0+prefect-ollama.123.456.789") == "unknown"


def test_without_a_secret_a_node_is_quoted() -> None:
    with pytest.raises(NodeFailed, match="no space on /models"):
        ask({"/api/embed": answer({"error": "no space on /models"}, 500)}, CALLS[3][1])


def test_the_vectors_of_a_hostile_neighbour_do_not_matter() -> None:
    """The whole of it: what a node sends is its own affair, and the healthy one embeds."""
    with Node(models=["m"], dimension=16) as good:
        for body in (b"[" * 10_000, BOMB, b"null", b'{"embeddings":[[1e999]]}', b'{"embeddings":[[{}]]}'):
            replies: dict[str, Reply] = {
                "/api/version": answer({"version": "1"}),
                "/api/tags": answer(TAGS),
                "/api/show": answer(SHOW),
                "/api/embed": answer(body),
            }
            with RawNode(replies) as bad:
                each = (NodeSpec("bad", bad.url), NodeSpec("good", good.url))
                proven = verified(*each)
            assert set(proven.verifications) == {"good"}
            np.testing.assert_allclose(
                proven.reference.canary(SHORT[0]), expected_vector(SHORT[0], 16), atol=1e-5
            )
