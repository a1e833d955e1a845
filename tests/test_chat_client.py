"""Chat with one node: streams, broken streams, and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from prefect_ollama.blocks.errors import (
    ClusterError,
    ConfigurationError,
    InputRejected,
    NodeAnswerError,
    NodeError,
    NodeFailed,
    NodeRefused,
    NodeUnreachable,
)
from prefect_ollama.blocks.nodes import ChatLimits, ChatMessage, ChatReply, ChatRequest
from prefect_ollama.blocks.nodes._dialects import OLLAMA_CHAT
from prefect_ollama.blocks.nodes._errors import from_response
from prefect_ollama.blocks.nodes._ollama_chat import OllamaChat
from prefect_ollama.blocks.nodes.chat_verification import verify_chat
from prefect_ollama.blocks.nodes.spec import ChatModelSpec, ClusterSpec, ModelSpec, NodeSpec
from tests.nodes import Node, nodes
from tests.raw_node import RawNode, answer
from tests.waiting import all_nodes_awaited, last_to_answer

MODEL = "gemma3"
CHAT = {"paths": ["/api/chat"]}
PATIENT = ChatLimits(first=30.0, between=30.0)
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "sure": {"type": "boolean"}},
    "required": ["answer", "sure"],
}


@pytest.fixture(scope="module")
def shared() -> Iterator[Node]:
    with Node(chat_models=[MODEL], chat_capabilities=["completion", "thinking"]) as made:
        yield made


@pytest.fixture
def node(shared: Node) -> Node:
    shared.heal()
    shared.reset()
    return shared


def ask(node: Node, text: str = "Why is the sky blue?", **more: Any) -> tuple[ChatReply, list[str]]:
    """The answer, and its pieces as they came."""
    heard: list[str] = []
    model = ChatModelSpec(more.pop("model", MODEL), **more.pop("settings", {}))
    limits = more.pop("limits", PATIENT)

    async def run() -> ChatReply:
        async with OllamaChat(NodeSpec("n0", node.url, **more.pop("of_node", {})), model) as client:
            request = ChatRequest((ChatMessage("user", text),), **more)
            return await client.chat(request, limits=limits, heard=heard.append)

    return asyncio.run(run()), heard


def test_an_answer_streams_in_pieces_and_ends_with_its_counts(node: Node) -> None:
    node.control(chat_script=[{"content": "Because of Rayleigh scattering."}])
    reply, heard = ask(node)
    assert reply.text == "".join(heard) == "Because of Rayleigh scattering."
    assert len(heard) > 3
    assert (reply.cut, reply.thinking) == (False, "")
    assert (reply.prompt_tokens, reply.answer_tokens) == (5, 8)


def test_a_reason_alone_ends_an_answer() -> None:
    lines = b'{"message": {"content": "Blue."}}\n{"message": {"content": ""}, "done_reason": "stop", "eval_count": 3}'

    async def run(url: str) -> ChatReply:
        async with OllamaChat(NodeSpec("n0", url), ChatModelSpec(MODEL)) as client:
            request = ChatRequest((ChatMessage("user", "Why?"),))
            return await client.chat(request, limits=ChatLimits(60, 60))

    with RawNode({"/api/chat": answer(lines)}) as raw:
        reply = asyncio.run(run(raw.url))
    assert (reply.text, reply.cut, reply.answer_tokens) == ("Blue.", False, 3)


def test_an_answer_fits_the_schema_that_was_sent(node: Node) -> None:
    reply, _ = ask(node, format=SCHEMA)
    assert set(orjson.loads(reply.text)) == {"answer", "sure"}


def test_thinking_comes_apart_from_the_answer(node: Node) -> None:
    node.control(chat_script=[{"thinking": "Light scatters.", "content": "Blue."}])
    reply, heard = ask(node, settings={"think": True})
    assert (reply.thinking, reply.text, "".join(heard)) == ("Light scatters.", "Blue.", "Blue.")
    assert ask(node, settings={"think": False})[0].thinking == ""


def test_an_answer_that_is_too_long_says_that_it_is_cut(node: Node) -> None:
    node.control(chat_script=[{"content": "x" * 400}])
    reply, _ = ask(node, max_tokens=10)
    assert (reply.cut, reply.answer_tokens, len(reply.text)) == (True, 10, 40)


def test_a_prompt_that_is_too_long_is_not_cut(node: Node) -> None:
    with pytest.raises(InputRejected) as caught:
        ask(node, "x" * 4000, settings={"num_ctx": 512})
    assert caught.value.too_long


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (
            {"name": "error_line", "message": "CUDA error"},
            NodeFailed,
            "in the middle of an answer (CUDA error)",
        ),
        ({"name": "malformed_line"}, NodeAnswerError, "/api/chat"),
        ({"name": "short_body", "paths": ["/api/chat"]}, NodeFailed, "broke off in the middle"),
        ({"name": "reset", "paths": ["/api/chat"]}, NodeUnreachable, "broke off the answer"),
        ({"name": "close", "paths": ["/api/chat"]}, NodeUnreachable, "broke off the answer"),
        ({"name": "http500", "paths": ["/api/chat"]}, NodeFailed, "500"),
        ({"name": "html", "paths": ["/api/chat"]}, NodeAnswerError, "/api/chat"),
        ({"name": "missing_model", "paths": ["/api/chat"]}, NodeRefused, "does not have the model"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_an_answer_that_breaks_off_is_an_error_of_its_node(
    node: Node, fault: dict[str, Any], kind: type[NodeError], words: str
) -> None:
    node.control(faults=[fault])
    with pytest.raises(kind) as caught:
        ask(node)
    assert words in str(caught.value)
    node.heal()
    assert ask(node)[0].text


@pytest.mark.parametrize("piece", ["rain", "    ", " \n\t "], ids=["a word", "blanks", "mixed blanks"])
def test_a_model_that_repeats_itself_is_no_fault_of_its_node(node: Node, piece: str) -> None:
    """A real server of 0.33 ends the stream after 31 equal tokens, with status 200 and no last line."""
    node.control(
        chat_script=[{"content": piece * 60}], faults=[{"name": "short_body", "after_tokens": 32} | CHAT]
    )
    reply = ask(node)[0]
    assert (reply.cut, reply.repeated, reply.text) == (True, True, piece * 32)
    node.control(faults=[{"name": "short_body", "after_tokens": 20} | CHAT])
    with pytest.raises(NodeFailed, match="broke off in the middle"):
        ask(node)


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        ("the input length exceeds the context length", None),
        (
            '{"error":{"code":400,"message":"request (10742 tokens) exceeds the available context size (8192 tokens), '
            'try increasing it","type":"exceed_context_size_error","n_prompt_tokens":10742,"n_ctx":8192}}',
            8192,
        ),
        (
            "the prompt is longer than the context length currently available to the model; shorten the prompt, adjust "
            "the context length in settings, or use a model with a longer context length",
            None,
        ),
    ],
    ids=["0.13.5", "0.33", "0.33 with a template"],
)
def test_a_prompt_that_a_real_server_refuses_is_too_long(said: str, limit: int | None) -> None:
    """The first two are recorded, of 0.13.5 and 0.33.0-rc2; the third is from llm/llama_server.go of 0.33."""
    body = orjson.dumps({"error": said})
    error = from_response("n0", 400, httpx.Headers(), body, model="m", dialect=OLLAMA_CHAT)
    assert isinstance(error, InputRejected)
    assert (error.too_long, error.most_tokens) == (True, limit)


def test_the_first_token_and_each_next_one_have_limits_of_their_own(node: Node) -> None:
    node.control(faults=[{"name": "hang", "paths": ["/api/chat"]}])
    with pytest.raises(NodeUnreachable, match=r"first token of an answer within 0\.2 s") as caught:
        ask(node, limits=ChatLimits(first=0.2, between=60.0))
    assert caught.value.silent
    node.control(faults=["stall"])
    with pytest.raises(NodeUnreachable, match=r"next token of an answer within 0\.2 s"):
        ask(node, limits=ChatLimits(first=60.0, between=0.2))


def test_a_model_that_does_not_chat_is_refused_in_words_about_chat(node: Node) -> None:
    with pytest.raises(NodeRefused, match="cannot chat with 'nomic-embed-text'"):
        ask(node, model="nomic-embed-text")


def test_a_flood_of_text_is_broken_off(node: Node) -> None:
    node.control(chat_script=[{"content": "x" * 200_000}], ignore_num_predict=True)
    with pytest.raises(NodeAnswerError, match="far more than the 1 token that was asked for"):
        ask(node, max_tokens=1)


def test_a_secret_that_comes_back_in_an_error_is_not_shown(node: Node) -> None:
    node.control(faults=[{"name": "error_line", "message": "token sk-12345 is bad"}])
    with pytest.raises(NodeFailed) as caught:
        ask(node, of_node={"headers": (("Authorization", _secret("Bearer sk-12345")),)})
    assert "sk-12345" not in str(caught.value)


def _secret(text: str) -> Any:
    from pydantic import SecretStr

    return SecretStr(text)


# Before the work


def cluster(made: list[Node], **more: Any) -> ClusterSpec:
    each = tuple(NodeSpec(f"n{place}", node.url) for place, node in enumerate(made))
    chat = ChatModelSpec(MODEL, **more.pop("chat", {}))
    return ClusterSpec(each, ModelSpec("nomic-embed-text"), chat=chat, **more)


def test_nodes_that_cannot_chat_are_left_out_with_the_reason() -> None:
    with nodes(
        {"chat_models": [MODEL]},
        {"chat_models": [MODEL]},
        {"chat_models": [MODEL], "digest": "f" * 64},
        {"models": ["nomic-embed-text", MODEL]},
        {},
    ) as made:
        found = asyncio.run(verify_chat(cluster(made)))
        assert sorted(found.models) == ["n0", "n1"]
        assert found.model.num_ctx == 8192
        assert "another build of the chat model" in str(found.left_out["n2"])
        assert "which is no chat model (it can do embedding)" in str(found.left_out["n3"])
        assert "does not have the model 'gemma3'" in str(found.left_out["n4"])
        accepted = asyncio.run(verify_chat(cluster(made, accept_other_digest=True)))
        assert sorted(accepted.models) == ["n0", "n1", "n2"]


def test_among_equals_the_first_configured_node_decides_also_if_it_answers_last() -> None:
    chats = {"chat_models": [MODEL]}
    with (
        all_nodes_awaited(),
        nodes(chats | {"digest": "f" * 64}, chats) as made,
        last_to_answer(made[0], after=made[1], calls=3),
    ):
        assert list(asyncio.run(verify_chat(cluster(made))).models) == ["n0"]


def test_a_model_that_cannot_think_is_left_out_where_it_is_to(node: Node) -> None:
    assert asyncio.run(verify_chat(cluster([node], chat={"think": True}))).models
    node.control(chat_capabilities=["completion"])
    with pytest.raises(ClusterError, match="cannot think"):
        asyncio.run(verify_chat(cluster([node], chat={"think": True})))
    assert asyncio.run(verify_chat(cluster([node], chat={"think": False}))).models


@pytest.mark.parametrize(
    ("can", "think"), [(["completion"], False), (["completion", "thinking"], None), ([], None)]
)
def test_a_model_of_which_all_nodes_say_that_it_cannot_think_gets_no_tokens_for_it(
    node: Node, can: list[str], think: bool | None
) -> None:
    node.control(chat_capabilities=can)
    found = asyncio.run(verify_chat(cluster([node])))
    assert found.model.think is think
    assert ask(node, settings={"think": found.model.think})[0].text


def test_one_node_whose_model_may_think_is_enough_for_tokens_for_thinking(node: Node) -> None:
    with Node(chat_models=[MODEL], chat_capabilities=["completion"]) as other:
        assert asyncio.run(verify_chat(cluster([other, node]))).model.think is None


def test_a_context_that_a_model_does_not_have_is_refused(node: Node) -> None:
    node.control(chat_context=4096)
    assert asyncio.run(verify_chat(cluster([node]))).model.num_ctx == 4096
    with pytest.raises(ClusterError, match=r"reads 4,096 tokens; the cluster asks for 9,000"):
        asyncio.run(verify_chat(cluster([node], chat={"num_ctx": 9000})))


def test_a_node_that_lacks_the_model_may_pull_it() -> None:
    with (
        nodes({"chat_models": []}) as made,
        pytest.raises(ClusterError, match="ollama pull gemma3") as caught,
    ):
        asyncio.run(verify_chat(cluster(made)))
    # An ingest pulls no chat model.
    assert "--pull" not in str(caught.value)


def test_a_cluster_without_a_chat_model_says_so(node: Node) -> None:
    spec = ClusterSpec((NodeSpec("n0", node.url),), ModelSpec("nomic-embed-text"))
    with pytest.raises(ConfigurationError, match="names no chat model"):
        asyncio.run(verify_chat(spec))
