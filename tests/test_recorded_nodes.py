"""Simulated nodes and the embedded node answer as real Ollama servers of two versions did."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from prefect_ollama.blocks.embedded.nodes import EmbeddedNodes
from tests.nodes import Node
from tests.recorded import CHAT, MODEL, VERSIONS, Asked, Recorded, recorded, requests, shape

NO_REGISTRY = (
    'pull model manifest: Get "https://registry.ollama.ai/v2/library/nope-nope/manifests/latest": '
    "proxyconnect tcp: dial tcp 127.0.0.1:9: connect: connection refused"
)
ENDED_BY_THE_RECORDER = "10000 texts"
"""It got no answer from 0.24 within two minutes, because of the speed of that machine."""

OWN_TOKENS = {
    "control characters", "NUL", "C1, bidi, PUA, non-characters", "lone surrogate escape", "low surrogate",
    "invalid UTF-8", "Chinese", "1 MB one word true", "10000 texts", "emoji",
}  # fmt: skip
"""Texts that are no plain words: simulated nodes have no real tokenizer, so only that they count is compared."""

REQUESTS = requests()


def ask(client: httpx.Client, asked: Asked, timeout: float = 60) -> httpx.Response:
    method = asked.method or ("GET" if asked.body is None else "POST")
    return client.request(method, asked.path, content=asked.content, headers=asked.headers, timeout=timeout)


def answered(response: httpx.Response, case: str) -> Recorded:
    kind = response.headers.get("content-type", "")
    body: Any = response.text
    if "ndjson" in kind:
        lines = [shape(orjson.loads(line)) for line in response.content.splitlines()]
        body = lines[:2] if case.startswith("pull") else lines[:1]
    elif "json" in kind:
        body = shape(response.json())
    chunked = response.headers.get("transfer-encoding") == "chunked"
    allow = response.headers.get("allow", "")
    return Recorded(case, response.status_code, kind, chunked, allow, body)


def comparable(answer: Recorded, case: str) -> Any:
    body = answer.body
    if case in OWN_TOKENS and isinstance(body, dict):
        body = body | {"prompt_eval_count": "<number>"}
    return (answer.status, answer.type, answer.chunked, answer.allow, body)


def test_every_recorded_answer_has_its_request() -> None:
    for version in VERSIONS:
        cases = [answer.case for answer in recorded(version)]
        assert len(cases) == 141
        assert set(cases) == set(REQUESTS)


@pytest.fixture(scope="module", params=VERSIONS)
def simulated(request: pytest.FixtureRequest) -> tuple[str, dict[int, Recorded]]:
    """What a simulated node answers to all requests in the order of the recording: what is loaded depends on it."""
    settings = {
        "models": [MODEL], "chat_models": [CHAT], "dimension": 384, "context_length": 512, "tokenizer": "words",
        "on_gpu": 0.0, "pull_error": NO_REGISTRY, "pull_error_after": 1,
    }  # fmt: skip
    answers: dict[int, Recorded] = {}
    with (
        Node(version=request.param, **settings) as node,
        httpx.Client(base_url=node.url, trust_env=False, timeout=240) as client,
    ):
        ask(client, REQUESTS["string"])  # the model was loaded before the recording began
        for place, real in enumerate(recorded(request.param)):
            timeout = 60 if real.status else 1
            if real.status or real.case != ENDED_BY_THE_RECORDER:
                try:
                    answers[place] = answered(ask(client, REQUESTS[real.case], timeout), real.case)
                except httpx.ReadTimeout:
                    answers[place] = Recorded(real.case, 0, "", False, "", None)
    return request.param, answers


@pytest.mark.sampled(30)
@pytest.mark.parametrize("place", range(141), ids=[answer.case for answer in recorded(VERSIONS[0])])
def test_a_simulated_node_answers_as_the_recorded_one(
    simulated: tuple[str, dict[int, Recorded]], place: int
) -> None:
    version, answers = simulated
    real = recorded(version)[place]
    if place not in answers:
        pytest.skip("the recorder did not wait for the answer")
    assert comparable(answers[place], real.case) == comparable(real, real.case)


# The embedded node

ELSEWHERE = ("ps", "show", "tags", "chat", "generate", "v1", "old", "pull", "version", "host ")
"""What the embedded node does not have, or has of its own: another model, another version, nothing that chats."""

OWN_WORDS = {"bad JSON", "bad JSON 2"}
"""It refuses them with the same status; its parser has other words."""

NOT_TAKEN = {
    "lone surrogate escape",
    "low surrogate",
    "invalid UTF-8",
    "10 MB true",
    "10 MB false",
    "10000 texts",
}
"""Texts that are no Unicode are refused; the long ones take minutes of a core."""

SMALLER_BATCH = {"100 words, ctx 512, batch 64, false", "100 words, ctx 512, batch 64, true"}
"""It has no batch."""


@pytest.fixture(scope="module")
def embedded() -> Iterator[httpx.Client]:
    with (
        EmbeddedNodes(1) as nodes,
        httpx.Client(base_url=nodes.urls[0], trust_env=False, timeout=240) as client,
    ):
        yield client


@pytest.mark.parametrize(
    "real",
    [
        answer
        for answer in {answer.case: answer for answer in recorded(VERSIONS[1])}.values()
        if not answer.case.startswith(ELSEWHERE) and answer.case not in NOT_TAKEN | SMALLER_BATCH
    ],
    ids=lambda answer: answer.case,
)
def test_the_embedded_node_answers_as_the_recorded_one(embedded: httpx.Client, real: Recorded) -> None:
    got = answered(ask(embedded, REQUESTS[real.case]), real.case)
    assert got.status == real.status
    if real.case not in OWN_WORDS | {"HEAD root"}:
        assert comparable(got, real.case)[4] == comparable(real, real.case)[4]
    assert got.type.partition(";")[0] == real.type.partition(";")[0]


def test_what_the_tokenizer_of_an_old_version_costs() -> None:
    with Node(models=[MODEL], version="0.24.0", dimension=8) as node:
        with httpx.Client(base_url=node.url, trust_env=False, timeout=240) as client:
            began = time.monotonic()
            ask(client, Asked("/api/embed", {"model": MODEL, "input": "a" * 2000}))
            assert time.monotonic() - began > 0.5  # 4.2 s for twice the letters, an eighth of that here
        assert node.stats()["answered"] == 1


def test_vectors_of_every_call_are_the_same() -> None:
    with (
        Node(models=[MODEL], dimension=8) as node,
        httpx.Client(base_url=node.url, trust_env=False, timeout=240) as client,
    ):
        one = client.post("/api/embed", json={"model": MODEL, "input": "x"}).json()["embeddings"][0]
        two = client.post("/v1/embeddings", json={"model": MODEL, "input": "x"}).json()["data"][0][
            "embedding"
        ]
        old = client.post("/api/embeddings", json={"model": MODEL, "prompt": "x"}).json()["embedding"]
    np.testing.assert_allclose(one, two, atol=1e-7)
    np.testing.assert_allclose(one, old, atol=1e-7)
