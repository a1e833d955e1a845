"""Servers with `/v1/embeddings`: what their answers and refusals become, alone and beside Ollama nodes."""

from __future__ import annotations

import asyncio
import base64
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from pydantic import SecretStr, ValidationError

from prefect_ollama.blocks import OllamaCluster, OpenAICompatibleNode
from prefect_ollama.blocks.errors import (
    ClusterError,
    InputRejected,
    NodeAnswerError,
    NodeBusy,
    NodeError,
    NodeFailed,
    NodeRefused,
    NodeUnreachable,
    TextTooLong,
)
from prefect_ollama.blocks.nodes import _openai, open_endpoint
from prefect_ollama.blocks.nodes._dialects import OLLAMA, OPENAI, Dialect
from prefect_ollama.blocks.nodes._errors import from_response
from prefect_ollama.blocks.nodes._openai import OpenAIEndpoint
from prefect_ollama.blocks.nodes.address import openai_url
from prefect_ollama.blocks.nodes.canaries import long_pair
from prefect_ollama.blocks.nodes.check import check_cluster, check_node
from prefect_ollama.blocks.nodes.proxy import Proxy
from prefect_ollama.blocks.nodes.spec import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.verification import VerifiedCluster, verify_cluster
from prefect_ollama.blocks.resolve import cluster_by_address
from prefect_ollama.tasks.dispatch import Dispatcher
from tests.nodes import Node, expected_vector, nodes
from tests.nodes.openai import Kind, OpenAIServer
from tests.waiting import all_nodes_awaited

MODEL = "nomic-embed-text"
TEXTS = [f"The tide of day {number} is in the log." for number in range(5)]
KINDS: tuple[Kind, ...] = ("llama.cpp", "vLLM", "TEI", "plain")


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    """Servers of a test must not meet what an earlier one on the same port was."""
    _openai._found.clear()
    yield
    _openai._found.clear()


def using(
    server: OpenAIServer, call: Callable[[OpenAIEndpoint], Any], *, model: str = MODEL, **more: Any
) -> Any:
    """Do something with an endpoint of the server."""

    async def run() -> Any:
        options = {name: more.pop(name) for name in ("num_ctx", "dimensions") if name in more}
        node = NodeSpec("it", server.url, api="openai", **more)
        async with open_endpoint(node, ModelSpec(model, **options)) as endpoint:
            assert isinstance(endpoint, OpenAIEndpoint)
            return await call(endpoint)

    return asyncio.run(run())


def embed(server: OpenAIServer, texts: list[str] = TEXTS, **more: Any) -> np.ndarray[Any, Any]:
    """Vectors of texts, which are compared with the right ones by the caller."""
    vectors: np.ndarray[Any, Any] = using(server, lambda it: it.embed(texts, timeout=60), **more).vectors
    return vectors


def right(texts: list[str] = TEXTS, dimension: int = 16) -> np.ndarray[Any, Any]:
    """What they must be."""
    return np.stack([expected_vector(text, dimension) for text in texts])


def cluster(*given: OpenAIServer | Node, **more: Any) -> ClusterSpec:
    """A cluster of servers of both kinds."""
    specs = tuple(
        NodeSpec(f"n{at}", each.url, api="openai" if isinstance(each, OpenAIServer) else "ollama")
        for at, each in enumerate(given)
    )
    return ClusterSpec(specs, ModelSpec(MODEL), **more)


def prove(*given: OpenAIServer | Node, **more: Any) -> VerifiedCluster:
    """The same, proven."""
    with all_nodes_awaited():
        return asyncio.run(verify_cluster(cluster(*given, **more)))


@pytest.mark.sampled(9)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["yes", "no", "refuses"])
@pytest.mark.parametrize("order", ["right", "shuffled", "unnumbered", "without 0"])
def test_vectors_come_in_the_order_of_the_texts(kind: Kind, form: Any, order: Any) -> None:
    with OpenAIServer(kind, base64=form, order=order) as server:
        assert np.array_equal(embed(server), right())
        asked = server.requests[-1]
        assert asked["model"] == MODEL
        assert asked.get("encoding_format") == (None if form == "refuses" else "base64")


def test_a_server_that_refuses_base64_is_proven_by_requests_at_once() -> None:
    with OpenAIServer("vLLM", base64="refuses", seconds_a_text=0.02) as server:
        assert set(prove(server).verifications) == {"n0"}


def test_a_server_that_refuses_base64_is_asked_for_it_once() -> None:
    with OpenAIServer("vLLM", base64="refuses") as server:

        async def thrice(it: OpenAIEndpoint) -> None:
            for _ in range(3):
                await it.embed(TEXTS, timeout=60)

        using(server, thrice)
        assert ["encoding_format" in asked for asked in server.requests] == [True, False, False, False]


def test_an_encoding_that_a_gateway_fails_at_is_left_out() -> None:
    with OpenAIServer() as server:
        answer = server.post

        def post(path: str, asked: dict[str, Any], authorization: str) -> Any:
            if "encoding_format" in asked:
                said = (
                    "litellm.UnsupportedParamsError: ollama does not support parameters: {'encoding_format'}"
                )
                return 500, {"error": {"message": said, "code": "500"}}
            return answer(path, asked, authorization)

        server.post = post  # type: ignore[method-assign]
        assert np.array_equal(embed(server), right())


def test_vectors_of_any_norm_are_normalised() -> None:
    with OpenAIServer(scale=7.5) as server:
        vectors = embed(server)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        assert np.allclose(vectors, right(), atol=1e-6)


def test_dimensions_are_cut_here_and_normalised() -> None:
    with OpenAIServer() as server:
        vectors = embed(server, dimensions=4)
        assert "dimensions" not in server.requests[-1]
    head = right()[:, :4]
    assert np.allclose(vectors, head / np.linalg.norm(head, axis=1)[:, None], atol=1e-6)


def test_tokens_are_those_that_the_server_counts() -> None:
    with OpenAIServer("vLLM") as server:
        assert using(server, lambda it: it.embed(["one two three"], timeout=60)).tokens == 5


def _row(answer: Any, **changes: Any) -> Any:
    answer["data"][1] |= changes
    return answer


SPOILT: dict[str, Callable[[Any], Any]] = {
    "one too few": lambda answer: answer | {"data": answer["data"][1:]},
    "one too many": lambda answer: answer | {"data": [*answer["data"], answer["data"][0]]},
    "no list": lambda answer: answer | {"data": {"0": 1}},
    "no objects": lambda answer: answer | {"data": [1] * len(answer["data"])},
    "no data": lambda answer: {"object": "list"},
    "a list": lambda answer: [answer],
    "no base64": lambda answer: _row(answer, embedding="%%%%"),
    "half a float": lambda answer: _row(answer, embedding=base64.b64encode(b"123456789").decode()),
    "shorter": lambda answer: _row(answer, embedding=[1.0] * 15),
    "empty": lambda answer: _row(answer, embedding=[]),
    "words": lambda answer: _row(answer, embedding=["a"] * 16),
    "null": lambda answer: _row(answer, embedding=None),
    "NaN": lambda answer: _row(
        answer, embedding=base64.b64encode(np.full(16, math.nan, "<f4").tobytes()).decode()
    ),
    "Inf": lambda answer: _row(
        answer, embedding=base64.b64encode(np.full(16, math.inf, "<f4").tobytes()).decode()
    ),
    "zero": lambda answer: _row(answer, embedding=[0.0] * 16),
    "beyond float32": lambda answer: _row(answer, embedding=[1e300] * 16),
    "for each token": lambda answer: (
        answer | {"data": [row | {"embedding": [[1.0] * 16] * 3} for row in answer["data"]]}
    ),
    "same index": lambda answer: _row(answer, index=0),
    "index beyond": lambda answer: _row(answer, index=5),
    "index of text": lambda answer: _row(answer, index="1"),
    "index of truth": lambda answer: _row(answer, index=True),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_an_unusable_answer_is_an_error_of_its_node(spoil: Callable[[Any], Any]) -> None:
    with OpenAIServer("vLLM", spoil=spoil) as server, pytest.raises(NodeAnswerError) as caught:
        embed(server)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_another_dimension_than_expected_is_refused() -> None:
    with OpenAIServer("vLLM") as server, pytest.raises(NodeAnswerError, match="16 dimensions where 8 are"):
        using(server, lambda it: it.embed(TEXTS, timeout=60, dimension=8))


@pytest.mark.sampled(16)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "said", "error", "shown"),
    [
        (401, "Invalid API Key", NodeRefused, "refuses the credentials"),
        (403, "forbidden", NodeRefused, "refuses the credentials"),
        (404, "The model `x` does not exist.", NodeRefused, "does not have the model"),
        (404, "Not Found", NodeRefused, "cannot embed"),
        (424, "model is not an embedding model", NodeRefused, "cannot embed"),
        (424, 'DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")', NodeFailed, "failed"),
        (400, "The model does not support Embeddings API", NodeRefused, "cannot embed"),
        (
            501,
            "This server does not support embeddings. Start it with `--embeddings`",
            NodeRefused,
            "cannot embed",
        ),
        (429, "Model is overloaded", NodeBusy, "is busy"),
        (503, "Loading model", NodeBusy, "is busy"),
        (500, "CUDA error: out of memory", NodeFailed, "failed"),
        (502, "bad gateway", NodeFailed, "failed"),
        (400, "input content cannot be empty", InputRejected, "rejects a text"),
        (307, "over there", NodeRefused, "redirects"),
        (400, "Client sent an HTTP request to an HTTPS server.", NodeRefused, "speaks TLS"),
        (400, "<title>400 The plain HTTP request was sent to HTTPS port</title>", NodeRefused, "speaks TLS"),
        (400, "You're speaking plain HTTP to an SSL-enabled server port.", NodeRefused, "speaks TLS"),
        (400, "Too many tokens overall, split into more batches.", InputRejected, "too large"),
        (400, "Too many tokens in batch. Max is 16384 got 17555", InputRejected, "too large"),
        (400, "Requested 399901 tokens, max 300000 tokens per request", InputRejected, "too large"),
        (
            429,
            "Request too large on tokens per min: Limit 40000, Requested 50000.",
            InputRejected,
            "too large",
        ),
    ],
)
def test_a_refusal_says_whose_fault_it_is(
    kind: Kind, status: int, said: str, error: type[NodeError], shown: str
) -> None:
    with OpenAIServer(kind) as server:
        embed(server)
        server.fail, server.words, server.retry_after = status, said, "7"
        with pytest.raises(error, match=shown) as caught:
            embed(server)
        assert caught.value.status == status
        if error is NodeBusy:
            assert caught.value.retry_after == 7


# Bug reports quote these messages: of LM Studio, Xinference, Llama Stack, llama-server, Infinity, OpenRouter and
# llama-swap; of Infinity, vLLM, LM Studio and Azure; and of OpenRouter.
@pytest.mark.parametrize(
    ("status", "said", "shown"),
    [
        (400, "No models loaded. Please load a model in the developer page", "does not have the model"),
        (400, "Multiple models are loaded. Please specify a model", "does not have the model"),
        (400, "Model not found in the model list, uid: bge-m3", "does not have the model"),
        (400, "Invalid value: Model all-MiniLM-L6-v2 not found", "does not have the model"),
        (400, "model 'x' not found", "does not have the model"),
        (400, "Invalid model: x. Please select one of 'a', 'b'", "does not have the model"),
        (400, "x is not a valid model ID", "does not have the model"),
        (400, "could not find real modelID for x", "does not have the model"),
        (400, "The model `x/y:8b` does not exist.", "does not have the model"),
        (400, "ModelNotDeployedError: model='x' does not support `embed`.", "cannot embed"),
        (400, "This model does not support the 'embed' task.", "cannot embed"),
        (400, 'Failed to load model "e5@q8_0". Error: Model is not embedding.', "cannot embed"),
        (400, "The embeddings operation does not work with the specified model, gpt-4o.", "cannot embed"),
        (402, "Insufficient credits", "wants to be paid first"),
    ],
)
def test_a_server_that_can_never_embed_is_refused(status: int, said: str, shown: str) -> None:
    error = from_response("it", status, httpx.Headers(), error_body(said), model="m", dialect=OPENAI)
    assert type(error) is NodeRefused
    assert shown in error.cause


@pytest.mark.parametrize(
    "said",
    [
        "error loading model: tensor 'output_norm.weight' not found",
        "model failed: CUDA device not found",
        "model=x: upstream host not found",
        "Failed to encode text: 'The model was not found to be stable'",
        f"Failed to encode text: {'word ' * 50}that is not an embedding model",
    ],
)
@pytest.mark.parametrize("dialect", [OLLAMA, OPENAI])
def test_another_thing_that_is_not_found_does_not_refuse_the_model(said: str, dialect: Dialect) -> None:
    error = from_response("it", 400, httpx.Headers(), error_body(said), model="m", dialect=dialect)
    assert type(error) is NodeFailed


# Of llama-cpp-python, Jina, Voyage, DashScope, Mistral, Infinity, vLLM and NVIDIA.
@pytest.mark.parametrize(
    ("status", "said", "most"),
    [
        (500, "Requested tokens (600) exceed context window of 512", 512),
        (400, "[UsageError] Single text cannot exceed 8192 tokens. 9000 tokens given.", 8192),
        (
            400,
            "The example at index 3 in your batch has too many tokens and does not fit into the model's context "
            "window of 32000 tokens.",
            32000,
        ),
        (400, "Range of input length should be [1, 8192]", 8192),
        (400, "Input id 0 has 9000 tokens, exceeding max 8192 tokens.", 8192),
        (422, "[{'type': 'string_too_long', 'msg': 'String should have at most 122880 characters'}]", None),
        (400, "The decoder prompt (length 9001) is longer than the maximum model length of 8192.", 8192),
        (
            400,
            "You passed 600 input tokens and requested 0 output tokens. However, the model's context length is only "
            "512 tokens, resulting in a maximum input length of 512 tokens.",
            512,
        ),
        (400, "Input length 1025 exceeds maximum allowed token size 512", 512),
        (400, "input length of 600 tokens exceeds the maximum context length of 512", 512),
        (422, f"String should have at most 9000 characters {'x ' * 99} is not an embedding model", None),
    ],
)
def test_a_text_is_too_long_in_the_words_of_other_servers(status: int, said: str, most: int | None) -> None:
    error = from_response("it", status, httpx.Headers(), error_body(said), model="m", dialect=OPENAI)
    assert isinstance(error, InputRejected)
    assert (error.too_long, error.most_tokens) == (True, most)


def test_the_error_of_a_gateway_may_be_a_list() -> None:
    body = orjson.dumps([{"error": {"code": 429, "message": "You exceeded your current quota"}}])
    error = from_response("it", 429, httpx.Headers(), body, model="m", dialect=OPENAI)
    assert error.cause == "Node 'it': is busy (429 'You exceeded your current quota')."
    proxy = Proxy("http://squid:3128", "HTTPS_PROXY", "api")
    behind = from_response("it", 429, httpx.Headers(), body, model="m", dialect=OPENAI, proxy=proxy)
    assert behind.cause == error.cause


def error_body(said: str) -> bytes:
    return orjson.dumps({"error": {"message": said}})


TOO_LONG = "This model's maximum context length is 512 tokens. However, your prompt contains at least 513 input tokens."


@pytest.mark.parametrize(
    ("said", "error", "shown"),
    [
        ({"message": TOO_LONG, "code": 400}, InputRejected, "longer than the model's context"),
        ({"message": "Rate limit exceeded", "code": "429"}, NodeBusy, "is busy"),
        ({"message": "No such key", "code": 401}, NodeRefused, "refuses the credentials"),
        ({"message": "broken", "code": None}, NodeFailed, "failed"),
        ("The model has crashed without additional information.", NodeFailed, "has crashed"),
        ("Unexpected endpoint or method. (POST /v1/v1/embeddings)", NodeRefused, "Check the node's URL"),
    ],
)
def test_an_error_under_status_200_is_that_error(said: Any, error: type[NodeError], shown: str) -> None:
    with OpenAIServer() as server:
        embed(server)
        for beside in ({}, {"object": "list", "data": []}):
            server.recorded["/v1/embeddings"] = 200, {"error": said, **beside}
            with pytest.raises(error, match=shown):
                embed(server)
        server.recorded.clear()
        server.spoil = lambda answer: answer | {"error": None}
        assert np.array_equal(embed(server), right())


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_is_too_long_is_refused_and_not_cut(kind: Kind) -> None:
    with OpenAIServer(kind, context=100) as server:
        with pytest.raises(InputRejected) as caught:
            embed(server, ["short", "long " * 200])
        assert caught.value.too_long
        assert caught.value.most_tokens == 100
        assert np.array_equal(embed(server, ["short"]), right(["short"]))


@pytest.mark.parametrize(("kind", "form"), [("TEI", "yes"), ("plain", "yes"), ("plain", "refuses")])
def test_a_server_that_cuts_is_not_believed_about_long_texts(kind: Kind, form: Any) -> None:
    """A text that may have been cut travels alone, and its tokens tell."""
    texts = ["short", "long " * 200, "also short", "word " * 60, "four"]
    with OpenAIServer(kind, context=100, cuts=True, base64=form) as server:
        with pytest.raises(InputRejected) as caught:
            embed(server, texts)
        assert caught.value.too_long
        del texts[1]
        server.requests.clear()
        assert np.array_equal(embed(server, texts), right(texts))
        assert [len(asked["input"]) for asked in server.requests][-3:] == [2, 1, 1]


def test_a_long_text_whose_count_of_tokens_is_impossible_counts_as_cut() -> None:
    with OpenAIServer(context=100, cuts=True) as server:
        embed(server)
        server.spoil = lambda answer: answer | {"usage": {"prompt_tokens": -1}}
        assert np.array_equal(embed(server), right())
        with pytest.raises(InputRejected) as caught:
            embed(server, ["long " * 99])
        assert caught.value.too_long


@pytest.mark.parametrize("context", [None, 8000])
def test_a_server_that_cuts_before_the_context_that_it_reports_is_found(context: int | None) -> None:
    with (
        OpenAIServer(context=100, cuts=True, tells=32_768) as server,
        pytest.raises(InputRejected, match="cuts a text"),
    ):
        embed(server, ["long " * 200], context=context)


@pytest.mark.parametrize("counts", [False, "whole"])
def test_a_server_that_cuts_and_does_not_count_what_is_left_is_left_out(counts: Any) -> None:
    with OpenAIServer(context=100, cuts=True, counts=counts) as server:
        with pytest.raises(NodeRefused, match="cuts texts") as caught:
            using(server, lambda it: it.identify())
        assert "refuses such texts" in str(caught.value)


def test_the_long_texts_differ_only_at_their_ends() -> None:
    one, other = (text.split() for text in long_pair(2048))
    assert one[:1536] == other[:1536]
    assert one[1536] != other[1536]
    assert min(len(one), len(other)) >= 2048


@pytest.mark.parametrize(
    ("kind", "version", "context"),
    [("llama.cpp", "llama.cpp b6000-abc1234", 512), ("vLLM", "vLLM 0.9.1", 512), ("TEI", "TEI 1.7.2", 512)],
)
def test_what_a_server_says_of_itself(kind: Kind, version: str, context: int) -> None:
    with OpenAIServer(kind) as server:
        found = using(server, lambda it: it.identify())
        assert (found.version, found.digest, found.context) == (version, "", context)


def test_llama_server_is_asked_for_its_batch_by_a_long_text() -> None:
    with OpenAIServer("llama.cpp", context=2048, batch=300) as server:
        assert using(server, lambda it: it.identify()).context == 300


def test_a_silent_server_is_known_by_the_field_of_the_block() -> None:
    with OpenAIServer(context=700, lists=False) as server:
        found = using(server, lambda it: it.identify(), context=600)
        assert (found.version, found.context) == ("", 600)
        with pytest.raises(NodeRefused, match="reads 600 tokens; the cluster asks for 2048"):
            using(server, lambda it: it.identify(), context=600, num_ctx=2048)


def test_more_texts_than_a_server_takes_go_in_several_requests() -> None:
    texts = [f"text {number}" for number in range(70)]
    for kind in ("TEI", "plain"):
        with OpenAIServer(kind, most_texts=32) as server:
            assert np.array_equal(embed(server, texts), right(texts))
            assert max(len(asked["input"]) for asked in server.requests[-3:]) == 32
            assert len(server.embedded) in (70, 72)  # the pair of long texts


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (422, "batch size 5 > maximum allowed batch size 2"),
        (
            400,
            "Invalid 'input': array too long. Expected an array with maximum length 2, but got an array with 5.",
        ),
        (422, "List should have at most 2 items after validation, not 5"),
        (400, "* BatchEmbedContentsRequest.requests: at most 2 requests can be in one batch"),
        (400, "invalid request: total number of texts must be at most 2 - received 5"),
        (
            400,
            "Too many inputs. The max number of inputs is 2. We hope to increase the number of inputs soon.",
        ),
        (400, "Value error, batch size is invalid, it should not be larger than 2.: input.contents"),
        (400, "The batch size limit is 2. Your batch size is 5."),
        (400, "inference request batch-size must be <= 2 for 'x'"),
    ],
)
def test_a_server_names_how_many_texts_it_takes(status: int, said: str) -> None:
    with OpenAIServer() as server:
        answer = server.post

        def post(path: str, asked: dict[str, Any], authorization: str) -> Any:
            if len(asked["input"]) > 2:
                return status, {"error": {"message": said, "code": status}}
            return answer(path, asked, authorization)

        server.post = post  # type: ignore[method-assign]
        assert np.array_equal(embed(server), right())


def test_a_server_that_takes_one_text_at_a_time_gets_no_more() -> None:
    with OpenAIServer() as server:
        answer = server.post

        def post(path: str, asked: dict[str, Any], authorization: str) -> Any:
            if len(asked["input"]) > 1:
                return 400, {"error": {"message": "one at a time", "code": 400}}
            return answer(path, asked, authorization)

        server.post = post  # type: ignore[method-assign]
        assert np.array_equal(embed(server, max_request_texts=1), right())


def test_a_server_that_reads_the_first_text_alone_is_named_with_the_remedy() -> None:
    with OpenAIServer(spoil=lambda answer: answer | {"data": answer["data"][:1]}) as server:
        with pytest.raises(
            NodeAnswerError, match=r"1 vector for 5 texts.*\n?.*\*Max texts per request\* to 1"
        ):
            embed(server)
        assert np.array_equal(embed(server, max_request_texts=1), right())


def test_the_models_name_on_the_server_may_be_another_one() -> None:
    with OpenAIServer("vLLM", model="nomic-ai/nomic-embed-text-v1.5") as server:
        with pytest.raises(NodeRefused, match=r"It has 'nomic-ai/nomic-embed-text-v1\.5'") as caught:
            embed(server)
        assert "ollama pull" not in str(caught.value)
        node = NodeSpec("it", server.url, api="openai", model=server.model)

        async def run() -> Any:
            async with open_endpoint(node, ModelSpec(MODEL)) as endpoint:
                return (await endpoint.embed(TEXTS, timeout=60)).vectors

        assert np.array_equal(asyncio.run(run()), right())


def test_a_key_is_sent_and_shown_nowhere() -> None:
    secret = "sk-" + "k3y" * 12
    headers = (("Authorization", SecretStr(f"Bearer {secret}")),)
    with OpenAIServer("vLLM", key=secret) as server:
        assert np.array_equal(embed(server, headers=headers), right())
        with pytest.raises(NodeRefused, match="refuses the credentials"):
            embed(server)
        for status in (400, 401, 404, 413, 422, 429, 500, 503):
            server.fail, server.words = status, f"the key {secret} is wrong"
            with pytest.raises(NodeError) as caught:
                embed(server, headers=headers)
            shown = (
                f"{caught.value} {caught.value!r} {caught.value.__context__} {pickle.dumps(caught.value)!r}"
            )
            assert "k3y" not in shown


def test_a_server_that_is_gone_is_unreachable() -> None:
    with OpenAIServer("vLLM") as server:
        url = server.url
    gone = OpenAIServer("vLLM")
    with pytest.raises(NodeUnreachable):
        asyncio.run(_ask(NodeSpec("it", url, api="openai", connect_timeout=2)))
    assert gone.requests == []


async def _ask(node: NodeSpec) -> Any:
    async with open_endpoint(node, ModelSpec(MODEL)) as endpoint:
        return await endpoint.embed(TEXTS, timeout=60)


def test_a_check_shows_models_and_server() -> None:
    with OpenAIServer("vLLM") as server:
        found = asyncio.run(check_node(NodeSpec("it", server.url, api="openai")))
    assert found.ok
    assert found.version == "vLLM 0.9.1"
    assert found.models == (MODEL,)
    assert found.loaded is None


def test_nodes_of_both_kinds_serve_together_if_their_vectors_agree() -> None:
    with (
        nodes({"dimension": 16, "tokenizer": "words"}) as (ollama,),
        OpenAIServer("vLLM", context=2048) as vllm,
    ):
        proven = prove(ollama, vllm)
        assert set(proven.verifications) == {"n0", "n1"}
        texts = [f"The tide of day {number}." for number in range(400)]
        with Dispatcher(proven) as dispatcher:
            done = dispatcher.embed(texts)
        assert not done.failures
        assert np.array_equal(np.stack(done.vectors), right(texts))
        assert vllm.embedded
        assert ollama.stats()["texts"] > 50


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.sampled(2)
def test_a_server_with_other_vectors_is_left_out_and_named(kind: Kind) -> None:
    with (
        nodes({"dimension": 16}, {"dimension": 16}) as (one, two),
        OpenAIServer(kind, context=2048, weights="b") as odd,
    ):
        proven = prove(one, two, odd)
        assert set(proven.verifications) == {"n0", "n1"}
        assert "gives other vectors than the other nodes'" in str(proven.left_out["n2"])
        assert "Ollama" not in str(proven.left_out["n2"]).partition("expected)")[2]
        found = asyncio.run(check_cluster(cluster(one, two, odd, pull=True)))
        assert [row.ok for row in found.nodes] == [True, True, False]


def test_a_server_that_mixes_up_its_answers_is_found() -> None:
    with (
        OpenAIServer(kind="vLLM", order="misnumbered") as server,
        pytest.raises(ClusterError, match="numbers its"),
    ):
        prove(server)


def test_a_server_that_dies_in_mid_run_leaves_its_texts_to_the_others() -> None:
    with (
        nodes({"dimension": 16, "texts_per_second": 400, "tokenizer": "words"}) as (ollama,),
        OpenAIServer("vLLM", context=2048, seconds_a_text=0.002) as vllm,
    ):
        proven = prove(ollama, vllm)
        vllm.dies_after = len(vllm.requests) + 3
        texts = [f"The tide of day {number}." for number in range(400)]
        with Dispatcher(proven) as dispatcher:
            done = dispatcher.embed(texts)
        assert not done.failures
        assert np.array_equal(np.stack(done.vectors), right(texts))
        assert len(vllm.requests) == vllm.dies_after


def test_overload_is_waited_out() -> None:
    with OpenAIServer("TEI", context=2048) as server:
        proven = prove(server)
        server.fail, server.words, server.retry_after = 429, "Model is overloaded", "0"
        server.fails = 2
        with Dispatcher(proven) as dispatcher:
            done = dispatcher.embed(TEXTS)
        assert not server.fails
        assert np.array_equal(np.stack(done.vectors), right())


def test_a_poison_text_fails_alone() -> None:
    texts = [*TEXTS, "poison", "more"]
    with OpenAIServer("llama.cpp", context=2048) as server:
        proven = prove(server)
        server.fail, server.words, server.only_with = 500, "decode failed", "poison"
        with Dispatcher(proven) as dispatcher:
            done = dispatcher.embed(texts)
        assert list(done.failures) == [5]
        good = [at for at in range(7) if at != 5]
        assert np.array_equal(np.stack([done.vectors[at] for at in good]), right([texts[at] for at in good]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_is_too_long_is_named_and_the_others_go_on(kind: Kind) -> None:
    texts = [*TEXTS, "long " * 900]
    with OpenAIServer(kind, context=512) as server, Dispatcher(prove(server)) as dispatcher:
        done = dispatcher.embed(texts)
        assert list(done.failures) == [5]
        assert isinstance(done.failures[5], TextTooLong)
        assert np.array_equal(np.stack(done.vectors[:5]), right())


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://box:8000/v1", "http://box:8000/v1"),
        ("http://box:8000/v1/", "http://box:8000/v1"),
        ("http://box:8000", "http://box:8000/v1"),
        ("box:8000", "http://box:8000/v1"),
        ("box/v1", "http://box/v1"),
        ("https://ai.example.org/llama/v1", "https://ai.example.org/llama/v1"),
        ("https://ai.example.org/v1beta/openai", "https://ai.example.org/v1beta/openai"),
        ("http://0.0.0.0:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_addresses(text: str, url: str) -> None:
    assert openai_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "http://box/v1/embeddings",
        "http://box/v1/models",
        "ftp://box/v1",
        "http://u:p@box/v1",
        "",
        "http://box:0/v1",
    ],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|port"):
        openai_url(text)


def test_a_plain_url_that_ends_in_v1_is_a_node_of_this_kind() -> None:
    spec = OllamaCluster(nodes=["http://a:11434", "http://b:8000/v1"]).to_spec()
    assert [(node.name, node.api) for node in spec.nodes] == [("a:11434", "ollama"), ("b:8000/v1", "openai")]
    found = cluster_by_address(["http://a:11434", "http://b:8000/v1"], MODEL)
    assert found is not None
    assert found.spec.nodes == spec.nodes
    assert cluster_by_address(["openai-compatible-node/vllm-box"], MODEL) is None


def test_the_block_becomes_a_node() -> None:
    block = OpenAICompatibleNode(url="b:8000", api_key=SecretStr("Bearer k-123"), model=" m ", context=512)
    spec = block.to_spec("n")
    assert (spec.url, spec.api, spec.model, spec.context) == ("http://b:8000/v1", "openai", "m", 512)
    assert [(name, value.get_secret_value()) for name, value in spec.headers] == [
        ("Authorization", "Bearer k-123")
    ]
    assert "k-123" not in repr(block) + repr(spec) + pickle.dumps(spec).decode("latin-1")
    with pytest.raises(ValidationError, match="give one of them"):
        OpenAICompatibleNode(url="b:8000", api_key=SecretStr("k"), headers={"authorization": "x"})
    with pytest.raises(ValidationError, match="belongs to a single call"):
        OpenAICompatibleNode(url="http://b:8000/v1/embeddings")
