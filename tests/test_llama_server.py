"""What llama.cpp's HTTP server answers, as recorded from a real one, and what its vectors are taken for.

The server was that of xllamacpp 2026.10.11549 (a build of llama.cpp of October 2026) on one CPU thread, with
all-MiniLM-L6-v2 in GGUF, converted from the weights of the embedded model. A model with a key-value cache gave the
answer "no room in the shared context". Vectors in answers are shortened; fingerprints are whole.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest

from prefect_ollama.blocks.embedded._model import EmbeddingModel
from prefect_ollama.blocks.errors import (
    InputRejected,
    NodeBusy,
    NodeError,
    NodeFailed,
    NodeRefused,
)
from prefect_ollama.blocks.nodes import _openai, open_endpoint
from prefect_ollama.blocks.nodes.canaries import CANARIES, QUICK, SHORT
from prefect_ollama.blocks.nodes.comparison import SAME_QUANTIZED_VECTORS, SAME_VECTORS, compare
from prefect_ollama.blocks.nodes.endpoint import Endpoint, NodeModel
from prefect_ollama.blocks.nodes.fingerprint import Fingerprint
from prefect_ollama.blocks.nodes.spec import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.verification import VerifiedCluster, verify_again, verify_cluster
from prefect_ollama.tasks.dispatch import Dispatcher
from prefect_ollama.tasks.searching.row_comparison import RowsCompared, other_vectors
from tests.nodes import expected_vector
from tests.nodes.openai import OpenAIServer

DATA = Path(__file__).parent / "data" / "llama-server"
EMBEDDINGS = "/v1/embeddings"
FULL = ("F32", "F16", "BF16")
QUANTIZED = ("Q8_0", "Q5_1", "Q4_0")


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    """Servers of a test must not meet what an earlier one on the same port was."""
    _openai._found.clear()
    yield
    _openai._found.clear()


@functools.cache
def answers() -> dict[str, tuple[int, Any]]:
    """Status and body by case."""
    rows = map(orjson.loads, (DATA / "answers.jsonl").read_bytes().splitlines())
    return {row["case"]: (row["status"], row["body"]) for row in rows}


@functools.cache
def fingerprints() -> dict[tuple[str, str], Fingerprint]:
    """By quantization, and by how the canaries were sent: "together" in one request, or each "alone"."""
    rows = map(orjson.loads, (DATA / "fingerprints.jsonl").read_bytes().splitlines())
    given = [(row["how"], Fingerprint.from_json(orjson.dumps(row["fingerprint"]))) for row in rows]
    return {(each.quantization, how): each for how, each in given}


@functools.cache
def embedded() -> Fingerprint:
    """The fingerprint of the embedded model."""
    model = EmbeddingModel()
    vectors = np.stack([model.embed(model.tokenizer.encode(text)) for text in CANARIES])
    says = {"digest": "a640f1166fdd", "version": "0.33.0", "quantization": "F32"}
    return Fingerprint.measured(CANARIES, vectors, model="all-minilm", **says)


def part(fingerprint: Fingerprint, texts: tuple[str, ...]) -> Fingerprint:
    return Fingerprint.measured(
        texts,
        np.stack([fingerprint.canary(text) for text in texts]),
        version=fingerprint.version,
        quantization=fingerprint.quantization,
    )


@pytest.mark.parametrize("quantization", FULL)
@pytest.mark.parametrize("how", ["together", "alone"])
def test_weights_in_full_pass_for_the_embedded_model(quantization: str, how: str) -> None:
    result = compare(fingerprints()[quantization, how], embedded())
    assert result.same
    assert result.least == SAME_VECTORS
    if quantization != "BF16":  # it has 8 bits of precision, F16 has 11
        assert 1 - result.cosine < (1 - SAME_VECTORS) / 10


@pytest.mark.parametrize("how", ["together", "alone"])
@pytest.mark.parametrize("texts", [SHORT, QUICK, CANARIES])
@pytest.mark.parametrize("quantization", QUANTIZED)
def test_quantized_weights_never_pass_for_full_ones(
    quantization: str, texts: tuple[str, ...], how: str
) -> None:
    found = part(fingerprints()[quantization, how], texts)
    for known in (
        embedded(),
        *(fingerprints()[each, sent] for each in FULL for sent in ("together", "alone")),
    ):
        result = compare(found, known)
        assert not result.same
        assert "another quantization" in result.cause
        # Not even by the wider bound, should the other one name itself as this one does.
        assert result.cosine < SAME_QUANTIZED_VECTORS


@pytest.mark.parametrize("quantization", QUANTIZED)
def test_a_server_with_quantized_weights_passes_for_itself(quantization: str) -> None:
    """It gives a text other vectors alone than beside others."""
    alone, together = fingerprints()[quantization, "alone"], fingerprints()[quantization, "together"]
    result = compare(alone, together)
    assert result.cosine < SAME_VECTORS
    assert result.same


def test_other_quantizations_do_not_pass_for_each_other() -> None:
    for one in QUANTIZED:
        for other in QUANTIZED:
            result = compare(fingerprints()[one, "together"], fingerprints()[other, "alone"])
            assert result.same == (one == other)


def test_a_difference_under_one_quantization_is_explained() -> None:
    found = fingerprints()["F16", "together"]
    known = fingerprints()["Q8_0", "together"]
    claimed = Fingerprint.measured(
        CANARIES, np.stack([found.canary(text) for text in CANARIES]), quantization="Q8_0"
    )
    result = compare(claimed, known)
    assert not result.same
    assert result.cause.startswith("other weights, or other hardware for the same ones (both say Q8_0")


def ask(server: OpenAIServer, call: Any) -> Any:
    """Do something with an endpoint of the server."""

    async def run() -> Any:
        async with open_endpoint(NodeSpec("it", server.url, api="openai"), ModelSpec("m")) as endpoint:
            return await call(endpoint)

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("case", "error", "shown"),
    [
        ("larger than the batch", InputRejected, "longer than the model's context"),
        ("larger than a slot", InputRejected, "longer than the model's context"),
        ("no room in the shared context", NodeFailed, "has no room .*--ctx-size"),
        ("no key", NodeRefused, "refuses the credentials .* Check the API key"),
        ("no embeddings", NodeRefused, "cannot embed with 'm' .*llama-server: --embeddings"),
        ("no pooling", NodeRefused, "cannot embed with 'm' .*--pooling"),
        ("loading", NodeBusy, "is busy .*Loading model"),
        ("no texts", InputRejected, "rejects a text"),
    ],
)
def test_a_recorded_refusal_says_whose_fault_it_is(case: str, error: type[NodeError], shown: str) -> None:
    with OpenAIServer("llama.cpp") as server:
        ask(server, lambda it: it.identify())
        server.recorded[EMBEDDINGS] = answers()[case]
        with pytest.raises(error, match=shown) as caught:
            ask(server, lambda it: it.embed(["a"], timeout=60))
        assert type(caught.value) is error
        if isinstance(caught.value, InputRejected) and caught.value.too_long:
            assert caught.value.most_tokens == {500: 512, 400: 256}[answers()[case][0]]


@pytest.mark.parametrize(("case", "quantization"), [("models", "F16"), ("models F32", "F32")])
def test_what_the_server_says_of_itself(case: str, quantization: str) -> None:
    with OpenAIServer("llama.cpp", batch=512) as server:
        server.recorded |= {"/v1/models": answers()[case], "/props": answers()["props"]}
        server.recorded["/version"] = answers()["no such path"]
        found: NodeModel = ask(server, lambda it: it.identify())
        assert found == NodeModel("llama.cpp b0-unknown", "", quantization, 512)
        build: NodeModel = ask(server, lambda it: it.build())
        assert (build.version, build.quantization) == ("llama.cpp b0-unknown", quantization)


@pytest.mark.parametrize(
    ("ftype", "name"),
    [
        ("all F32", "F32"),
        ("F16", "F16"),
        ("BF16", "BF16"),
        ("Q8_0", "Q8_0"),
        ("(guessed) Q4_0", "Q4_0"),
        ("Q2_K - Medium", "Q2_K"),
        ("Q2_K - Small", "Q2_K_S"),
        ("Q4_K - Medium", "Q4_K_M"),
        ("(guessed) Q3_K - Large", "Q3_K_L"),
        ("Q6_K", "Q6_K"),
        ("IQ4_XS - 4.25 bpw", "IQ4_XS"),
        ("IQ3_S mix - 3.66 bpw", "IQ3_M"),
        ("TQ1_0 - 1.69 bpw ternary", "TQ1_0"),
        ("MXFP4 MoE", "MXFP4"),
        ("NVFP4", "NVFP4"),
        ("unknown, may not work", ""),
        ("Q8_0 of somebody", ""),
        ("<b>F16</b>", ""),
        ("", ""),
    ],
)
def test_kinds_of_weights_have_their_short_names(ftype: str, name: str) -> None:
    with OpenAIServer("llama.cpp") as server:
        status, models = answers()["models"]
        entry = models["data"][0]
        entry = entry | {"meta": entry["meta"] | {"ftype": ftype}}
        server.recorded["/v1/models"] = status, models | {"data": [entry]}
        assert ask(server, lambda it: it.build()).quantization == name


@pytest.mark.parametrize("case", ["base64", "numbers"])
def test_recorded_answers_are_read(case: str) -> None:
    with OpenAIServer("llama.cpp") as server:
        ask(server, lambda it: it.identify())
        server.recorded[EMBEDDINGS] = answers()[case]
        answer = ask(server, lambda it: it.embed(["a", "b"], timeout=60))
        assert answer.tokens == 6
        assert np.allclose(np.linalg.norm(answer.vectors, axis=1), 1, atol=1e-6)


def cluster(server: OpenAIServer) -> ClusterSpec:
    return ClusterSpec((NodeSpec("it", server.url, api="openai"),), ModelSpec("nomic-embed-text"))


def test_texts_that_do_not_fit_together_go_one_after_the_other() -> None:
    """Each fits by itself, so none is called too long."""
    texts = [f"{number} " + "tide " * 150 for number in range(24)]
    with OpenAIServer("llama.cpp", context=256, shared=True, seconds_a_text=0.001) as server:
        verified = asyncio.run(verify_cluster(cluster(server)))
        with Dispatcher(verified) as dispatcher:
            done = dispatcher.embed(texts)
        assert not done.failures
        assert np.array_equal(np.stack(done.vectors), np.stack([expected_vector(text, 16) for text in texts]))


def test_requests_that_do_not_fit_together_go_one_after_the_other() -> None:
    async def at_once(it: Endpoint) -> Any:
        return await asyncio.gather(*(it.embed([f"{n} " + "tide " * 150], timeout=60) for n in range(5)))

    with OpenAIServer("llama.cpp", context=256, shared=True, seconds_a_text=0.02) as server:
        found = ask(server, at_once)
        assert [answer.tokens for answer in found] == [153] * 5
        assert server._aborted


def test_a_context_that_others_fill_is_no_fault_of_a_text() -> None:
    with OpenAIServer("llama.cpp") as server:
        ask(server, lambda it: it.identify())
        server.recorded[EMBEDDINGS] = answers()["no room in the shared context"]
        server.requests.clear()
        with pytest.raises(NodeFailed, match="no room"):
            ask(server, lambda it: it.embed(["a", "b", "c", "d", "e"], timeout=60))
        assert [len(asked["input"]) for asked in server.requests] == [5, 5, 3, 2, 1]


def test_a_node_that_comes_back_is_compared_with_its_kind_of_weights() -> None:
    with OpenAIServer("llama.cpp", cosine=1 - 2e-4) as server:
        status, models = answers()["models"]
        entry = models["data"][0]
        entry = entry | {"meta": entry["meta"] | {"ftype": "Q8_0"}}
        server.recorded["/v1/models"] = status, models | {"data": [entry]}

        verified = asyncio.run(verify_cluster(cluster(server)))
        assert verified.reference.quantization == "Q8_0"
        server.cosine = 1.0
        ask(server, lambda it: verify_again(it, verified, timeout=60))
        entry["meta"]["ftype"] = "F16"
        with pytest.raises(NodeRefused, match="gives other vectors"):
            ask(server, lambda it: verify_again(it, verified, timeout=60))


@pytest.mark.parametrize(
    ("version", "cause"),
    [
        ("llama.cpp b0-unknown", "another server or version (it is llama.cpp b0-unknown now)"),
        ("llama.cpp", "another server or version (it is llama.cpp now)"),
        ("0.33.0", "another version of Ollama (it is 0.33.0 now)"),
        ("", "another version of Ollama:"),
    ],
)
def test_another_tokenizer_is_put_down_to_the_server_that_answers(version: str, cause: str) -> None:
    reference = Fingerprint.measured(["a"], np.ones((1, 4), np.float32) / 2, version=version)
    found: Any = SimpleNamespace(
        identity=SimpleNamespace(dimension=4, model="m"), spec=SimpleNamespace(table="t")
    )
    spec = ClusterSpec((NodeSpec("it", "http://it/v1", api="openai"),), ModelSpec("m"))
    nodes = VerifiedCluster(spec, reference, {})
    rows = RowsCompared(count=8, wrong=3, cosine=0.5, least=SAME_VECTORS, only_marked=True)
    error = other_vectors(found, nodes, rows)
    assert cause in str(error)
    assert "version of the server that the table was made with" in str(error)
