"""Chat over several nodes: every request gets one answer that fits, or one error, whatever nodes do meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from prefect_ollama.blocks.errors import ChatError, ClusterError, ConfigurationError, NodeRefused
from prefect_ollama.blocks.nodes import (
    ChatMessage,
    ChatModelSpec,
    ChatRequest,
    ClusterSpec,
    ModelSpec,
    NodeSpec,
    VerifiedChat,
    open_chat_endpoint,
    other_chats,
    verify_chat,
    verify_chat_again,
    verify_cluster,
)
from prefect_ollama.tasks.dispatch import (
    ChatAnswer,
    ChatAnswers,
    ChatDispatcher,
    ChatRestarted,
    ChatText,
    ChatUnfinished,
    Dispatcher,
)
from tests.nodes import Node, nodes
from tests.waiting import all_nodes_awaited

MODEL = "gemma3"
SCHEMA = {
    "type": "object",
    "properties": {"supported": {"type": "boolean"}},
    "required": ["supported"],
    "additionalProperties": False,
}
QUICK = {"chat_models": [MODEL], "answer_tokens_per_second": 2000, "dimension": 32}


@pytest.fixture(scope="module")
def made() -> Iterator[list[Node]]:
    with nodes(QUICK, QUICK, QUICK) as started:
        yield started


@pytest.fixture
def trio(made: list[Node]) -> list[Node]:
    for node in made:
        node.heal()
        node.reset()
    return made


def cluster(made: Sequence[Node], give_up_after: float = 20.0, **changes: Any) -> ClusterSpec:
    each = tuple(NodeSpec(f"n{place}", node.url, **changes) for place, node in enumerate(made))
    chat = ChatModelSpec(MODEL)
    return ClusterSpec(each, ModelSpec("nomic-embed-text"), chat=chat, give_up_after=give_up_after)


def verified(made: Sequence[Node], **changes: Any) -> VerifiedChat:
    with all_nodes_awaited():
        return asyncio.run(verify_chat(cluster(made, **changes)))


def questions(count: int, **more: Any) -> list[ChatRequest]:
    return [
        ChatRequest((ChatMessage("user", f"Is sentence {number} supported?"),), **{"format": SCHEMA, **more})
        for number in range(count)
    ]


def check(answers: ChatAnswers, count: int) -> list[ChatAnswer]:
    """All answers, each of them whole."""
    assert not answers.failures
    assert len(answers.answers) == count
    found = [answer for answer in answers.answers if answer is not None]
    assert len(found) == count
    for answer in found:
        assert set(answer.value) == {"supported"}
        assert answer.node
        assert answer.seconds > 0
        assert answer.prompt_tokens > 0
        assert answer.answer_tokens > 0
    return found


def test_every_request_gets_an_answer_that_fits_its_schema(trio: list[Node]) -> None:
    with ChatDispatcher(verified(trio)) as chat:
        by_all: set[str] = set()
        while by_all != {
            "n0",
            "n1",
            "n2",
        }:  # a node that gets no core meanwhile answers none of the first ones
            found = check(chat.ask(questions(60)), 60)
            by_all.update(answer.node for answer in found)
    # The order is that of the requests: the scripted node decides by the question alone.
    with ChatDispatcher(verified(trio[:1])) as chat:
        again = check(chat.ask(questions(60)), 60)
    assert [answer.value for answer in found] == [answer.value for answer in again]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "fault",
    [
        {"name": "bad_json"},
        {"name": "length"},
        {"name": "error_line"},
        {"name": "malformed_line"},
        {"name": "reset", "paths": ["/api/chat"]},
        {"name": "short_body", "paths": ["/api/chat"]},
        {"name": "close", "paths": ["/api/chat"]},
        {"name": "http500", "paths": ["/api/chat"]},
        {"name": "http503", "paths": ["/api/chat"]},
        {"name": "html", "paths": ["/api/chat"]},
    ],
    ids=lambda fault: fault["name"],
)
def test_what_one_node_fails_on_another_one_answers(trio: list[Node], fault: dict[str, Any]) -> None:
    chats = verified(trio)
    trio[0].control(faults=[fault])
    with ChatDispatcher(chats) as chat:
        # A node that gets no core answers none of the first ones, not even badly.
        while not next(node for node in chat.stats() if node.name == "n0").errors:
            check(chat.ask(questions(30)), 30)
    assert trio[0].stats()["hits"] > 0


def test_a_node_that_gives_unusable_answers_goes_on_working(trio: list[Node]) -> None:
    chats = verified(trio)
    trio[0].control(faults=[{"name": "bad_json", "times": 3}])
    with ChatDispatcher(chats) as chat:
        while (first := next(node for node in chat.stats() if node.name == "n0")).texts == 0:
            check(chat.ask(questions(90)), 90)
    assert first.state == "closed"
    assert first.kinds == {"rejected": 3}


def test_nodes_that_are_avoided_answer_only_where_no_other_works(trio: list[Node]) -> None:
    chats = verified(trio)
    with ChatDispatcher(chats) as chat:
        found = check(chat.ask(questions(12), avoid=frozenset({"n0", "n2"})), 12)
        assert {answer.node for answer in found} == {"n1"}
        # What the only other node answers badly, an avoided one answers.
        trio[1].control(faults=["bad_json"])
        found = check(chat.ask(questions(6), avoid=frozenset({"n0", "n2"})), 6)
        assert "n1" not in {answer.node for answer in found}
        trio[1].control(faults=["down"])
        found = check(chat.ask(questions(6), avoid=frozenset({"n0", "n1"})), 6)
        assert {answer.node for answer in found} == {"n2"}
        check(chat.ask(questions(6), avoid=frozenset({"n1"})), 6)
    with ChatDispatcher(verified(trio[:1])) as chat:
        check(chat.ask(questions(3), avoid=frozenset({"n0"})), 3)


def test_a_node_that_dies_is_replaced_by_an_avoided_one(trio: list[Node]) -> None:
    chats = verified(trio[:2])
    for node in trio:
        node.control(answer_tokens_per_second=20)
    with ChatDispatcher(chats) as chat:
        strike = threading.Thread(
            target=lambda: (trio[1].wait(chat_tokens=2), trio[1].control(faults=["down"]))
        )
        strike.start()
        found = check(chat.ask(questions(2), avoid=frozenset({"n0"})), 2)
        strike.join()
    assert "n0" in {answer.node for answer in found}


def test_requests_are_dropped_after_their_time(trio: list[Node]) -> None:
    chats = verified(trio[:1])
    trio[0].control(answer_tokens_per_second=0.01)
    with ChatDispatcher(chats) as chat:
        with pytest.raises(TimeoutError):
            chat.ask(questions(1), timeout=0.2)
        trio[0].wait(chat_cancelled=1)
        trio[0].control(answer_tokens_per_second=2000)
        check(chat.ask(questions(1), timeout=240), 1)


def test_nodes_without_the_chat_model_answer_with_another_one() -> None:
    settings = [{**QUICK, "chat_models": models} for models in (["gemma3"], ["llama3.2", "tiny"], ["tiny"])]
    with nodes(*settings, {"dimension": 32}) as made:
        made[2].control(chat_context=4096)
        spec = cluster(made)
        others = other_chats(ChatModelSpec(MODEL, options=(("top_k", 5),)), ["llama3.2", "tiny", MODEL])
        assert [each.name for each in others] == ["llama3.2", "tiny"]
        found = asyncio.run(verify_chat(replace(spec, other_chats=others)))
        assert [found.model_of(f"n{number}").name for number in range(3)] == ["gemma3", "llama3.2", "tiny"]
        assert set(found.left_out) == {"n3"}
        assert "does not have the model 'gemma3'" in str(found.left_out["n3"])
        assert {found.model_of(f"n{number}").num_ctx for number in range(3)} == {4096}
        assert found.digest_of("tiny") != found.digest_of("gemma3")
        with ChatDispatcher(found) as chat:
            answers = check(chat.ask(questions(30)), 30)
            assert {(answer.node, answer.model) for answer in answers} == {
                ("n0", "gemma3"),
                ("n1", "llama3.2"),
                ("n2", "tiny"),
            }
            # A node that failed is compared with the nodes that have its own model.
            made[2].control(faults=[{"name": "http500", "times": 1, "paths": ["/api/chat"]}])
            check(chat.ask(questions(30)), 30)
            assert {check(chat.ask(questions(1), avoid=frozenset({"n0", "n1"})), 1)[0].node} == {"n2"}
        # Where no node has the chat model, the others are enough.
        alone = asyncio.run(verify_chat(replace(spec, nodes=spec.nodes[1:], other_chats=others)))
        assert set(alone.models) == {"n1", "n2"}
        with pytest.raises(ClusterError, match="No node can chat with 'gemma3'"):
            asyncio.run(verify_chat(replace(spec, nodes=spec.nodes[3:], other_chats=others)))


def test_a_node_that_was_down_returns_with_the_first_model_that_it_has() -> None:
    settings = [{**QUICK, "chat_models": models} for models in (["gemma3"], ["tiny", "llama3.2"], ["phi4"])]
    with nodes(*settings) as made:
        others = other_chats(ChatModelSpec(MODEL), ["llama3.2", "tiny"])
        made[0].control(chat_context=4096)
        made[1].control(faults=["down"])
        found = asyncio.run(verify_chat(replace(cluster(made), other_chats=others)))
        assert (set(found.models), found.several_models) == ({"n0"}, True)
        with ChatDispatcher(found) as chat:
            made[0].control(faults=["down"])
            made[1].heal()
            for _ in range(2):
                [answer] = check(chat.ask(questions(1)), 1)
                assert (answer.node, answer.model) == ("n1", "llama3.2")
                made[1].control(faults=[{"name": "http500", "times": 1, "paths": ["/api/chat"]}])
        # The context is that of the nodes that were there, because a request may go to any of them.
        assert [each.num_ctx for each in found.spec.other_chats] == [4096, 4096]

        async def verify_last() -> None:
            async with open_chat_endpoint(found.spec.nodes[2], found.model) as client:
                await verify_chat_again(client, found, timeout=240.0)

        with pytest.raises(NodeRefused, match="does not have the model 'gemma3'"):
            asyncio.run(verify_last())


def test_a_node_that_dies_in_mid_answer_is_done_without(trio: list[Node]) -> None:
    chats = verified(trio)
    for node in trio:
        node.control(answer_tokens_per_second=20)
    with ChatDispatcher(chats) as chat:
        strike = threading.Thread(
            target=lambda: (trio[0].wait(chat_tokens=3), trio[0].control(faults=["down"]))
        )
        strike.start()
        check(chat.ask(questions(6)), 6)
        strike.join()
    assert trio[0].stats()["chat_tokens"] >= 3


def test_a_node_that_stalls_in_mid_answer_is_not_waited_for(trio: list[Node]) -> None:
    chats = verified(trio)
    with ChatDispatcher(chats) as chat:
        check(chat.ask(questions(9)), 9)  # now their rates are known
        trio[0].control(faults=["stall"])
        check(chat.ask(questions(9)), 9)


@pytest.mark.parametrize(
    ("fault", "words", "remedy"),
    [
        ("bad_json", "it is no JSON", "Ask in another way"),
        ("length", "did not end its answer", "Ask a narrower question"),
        ("error_line", "failed in the middle of an answer", "Read its log."),
        ("malformed_line", "answered /api/chat", "Check what answers at its URL"),
    ],
)
def test_a_request_that_nobody_answers_well_has_an_error_of_its_own(
    trio: list[Node], fault: str, words: str, remedy: str
) -> None:
    chats = verified(trio)
    for node in trio:
        node.control(faults=[{"name": fault, "marker": "sentence 3 "}])
    with ChatDispatcher(chats) as chat:
        answers = chat.ask(questions(6))
    assert list(answers.failures) == [3]
    assert [answer is None for answer in answers.answers] == [place == 3 for place in range(6)]
    error = answers.failures[3]
    assert words in str(error)
    assert error.remedy.startswith(remedy)
    assert "Is sentence 3 supported?" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("faults", "options", "cause", "remedy"),
    [
        ([], {}, "within 20 tokens", "or name another chat model, or switch *Thinking* off in"),
        ([], {"think": False}, "within 20 tokens", "or name another chat model."),
        (
            ["length"],
            {"think": False},
            "before its context was full, after 2 tokens",
            "or raise *Chat context* in the block of the cluster.",
        ),
    ],
)
def test_an_answer_without_an_end_names_what_cut_it_and_what_can_help(
    trio: list[Node], faults: list[str], options: dict[str, Any], cause: str, remedy: str
) -> None:
    trio[0].control(faults=faults, chat_script=[{"content": "and the tide " * 40}])
    chats = verified(trio[:1])
    chats = replace(chats, spec=replace(chats.spec, chat=ChatModelSpec(MODEL, **options)))
    with ChatDispatcher(chats) as chat, pytest.raises(ChatError) as caught:
        list(chat.stream(ChatRequest((ChatMessage("user", "Why?"),), format=SCHEMA, max_tokens=20)))
    assert f"did not end its answer {cause}" in caught.value.cause
    assert (caught.value.state, remedy in caught.value.remedy) == ("This request has no answer.", True)


def test_an_answer_that_stands_in_the_thoughts_counts(trio: list[Node]) -> None:
    script = [{"thinking": '{"supported": true}', "content": " "}]
    trio[0].control(chat_script=script, chat_capabilities=["completion", "thinking"])
    chats = verified(trio[:1])
    chats = replace(chats, spec=replace(chats.spec, chat=ChatModelSpec(MODEL, think=True)))
    with ChatDispatcher(chats) as chat:
        [found] = check(chat.ask(questions(1)), 1)
    assert found.value == {"supported": True}


def test_one_node_alone_is_asked_again_before_a_request_fails(trio: list[Node]) -> None:
    chats = verified(trio[:1])
    trio[0].control(faults=[{"name": "bad_json", "times": 2}])
    with ChatDispatcher(chats) as chat:
        check(chat.ask(questions(1)), 1)
    trio[0].control(faults=["bad_json"])
    with ChatDispatcher(chats) as chat:
        assert list(chat.ask(questions(1)).failures) == [0]
    assert trio[0].stats()["faults"]["bad_json"] == 3


def test_a_request_beyond_the_context_is_refused_and_not_cut(trio: list[Node]) -> None:
    with ChatDispatcher(verified(trio)) as chat:
        long = ChatRequest((ChatMessage("user", "x" * 200_000),), format=SCHEMA)
        answers = chat.ask([*questions(2), long])
    assert list(answers.failures) == [2]
    assert "longer than the context of 'gemma3'" in str(answers.failures[2])


def test_what_is_no_unicode_is_not_sent(trio: list[Node]) -> None:
    with ChatDispatcher(verified(trio)) as chat:
        answers = chat.ask([*questions(1), ChatRequest((ChatMessage("user", "\ud800"),))])
    assert "no valid Unicode" in str(answers.failures[1])
    assert isinstance(answers.failures[1], ChatError)


def test_a_schema_that_is_none_is_named_before_anything_is_sent(trio: list[Node]) -> None:
    with ChatDispatcher(verified(trio)) as chat, pytest.raises(ConfigurationError, match="no JSON schema"):
        chat.ask(questions(1, format={"type": "sentence"}))
    assert sum(node.stats()["chat_requests"] for node in trio) == 0


def test_a_schema_makes_nobody_fetch_anything(trio: list[Node]) -> None:
    with Node() as other, ChatDispatcher(verified(trio)) as chat:
        trio_schema = {"$ref": f"{other.url}/schema"}
        for node in trio:
            node.control(chat_script=[{"content": {}}])
        answers = chat.ask(questions(1, format=trio_schema))
        assert list(answers.failures) == [0]
        assert not other.stats()["paths"]


def test_no_node_left_ends_the_work_and_keeps_what_was_answered(trio: list[Node]) -> None:
    chats = verified(trio[:1], give_up_after=0.5)
    trio[0].control(faults=[{"name": "down", "after_requests": 3}])
    with (
        ChatDispatcher(chats) as chat,
        pytest.raises(ChatUnfinished, match="answered a chat request") as caught,
    ):
        chat.ask(questions(30))
    error = caught.value
    done = [answer for answer in error.answers.answers if answer is not None]
    assert len(done) + error.left == 30
    assert pickle.loads(pickle.dumps(error)).left == error.left


def test_a_closed_dispatcher_takes_nothing(trio: list[Node]) -> None:
    chat = ChatDispatcher(verified(trio))
    chat.close()
    with pytest.raises(ClusterError, match="closed"):
        chat.ask(questions(1))


# Streaming


def text_of(events: Sequence[object]) -> str:
    """What a caller sees in the end."""
    text = ""
    for event in events:
        if isinstance(event, ChatRestarted):
            text = ""
        elif isinstance(event, ChatText):
            text += event.text
    return text


def talk(**more: Any) -> ChatRequest:
    return ChatRequest((ChatMessage("user", "Say the alphabet."),), **more)


def test_pieces_reach_the_caller_before_the_answer_is_whole(trio: list[Node]) -> None:
    alphabets = "abcdefghijklmnopqrstuvwxyz" * 40  # four letters a token: more than four minutes
    trio[0].control(chat_script=[{"content": alphabets}], answer_tokens_per_second=1)
    with ChatDispatcher(verified(trio[:1])) as chat:
        with contextlib.closing(chat.stream(talk())) as stream:
            assert next(stream)
            assert trio[0].stats()["chat_answered"] == 0  # it is at work for minutes to come
        trio[0].control(answer_tokens_per_second=1000)
        events = [*chat.stream(talk())]
    assert isinstance(events[-1], ChatAnswer)
    assert len(events) > 4
    assert text_of(events) == events[-1].text == alphabets


@pytest.mark.parametrize(
    "fault", ["error_line", "malformed_line", {"name": "reset", "paths": ["/api/chat"]}, "length", "bad_json"]
)
def test_an_answer_that_breaks_off_begins_again_elsewhere(trio: list[Node], fault: Any) -> None:
    chats = verified(trio)
    for node in trio:
        node.control(
            faults=[fault] if node is trio[0] else [], chat_script=[{"content": {"supported": True}}]
        )
    with ChatDispatcher(chats) as chat:
        while trio[0].stats()["hits"] == 0:  # until one of them comes to the first node
            events = list(chat.stream(talk(format=SCHEMA)))
            assert isinstance(events[-1], ChatAnswer)
            assert text_of(events) == events[-1].text


def test_who_stops_listening_stops_the_node(trio: list[Node]) -> None:
    trio[0].control(chat_script=[{"content": "x" * 4000}], answer_tokens_per_second=20)
    with ChatDispatcher(verified(trio[:1])) as chat:
        events = chat.stream(talk(max_tokens=2000))
        assert isinstance(next(iter(events)), ChatText)
        events.close()  # type: ignore[attr-defined]
        trio[0].wait(chat_cancelled=1)


# Beside embedding


def test_embedding_and_chat_keep_to_the_limit_of_a_node_together(trio: list[Node]) -> None:
    one = trio[:1]
    one[0].control(texts_per_second=400, answer_tokens_per_second=400)
    spec = cluster(one, max_in_flight=3)
    proven = asyncio.run(verify_cluster(spec))
    chats = asyncio.run(verify_chat(spec))
    one[0].reset()
    with Dispatcher(proven) as dispatcher, ChatDispatcher(chats, beside=dispatcher) as chat:
        texts = [f"text {number}" for number in range(800)]
        with ThreadPoolExecutor() as pool:
            embedded, answered = pool.submit(dispatcher.embed, texts), pool.submit(chat.ask, questions(40))
            # Texts still wait in the queue then.
            assert one[0].wait(texts_answered=200, chat_answered=5)["max_together"] <= 3
            check(answered.result(), 40)
            assert not embedded.result().failures
    stats = one[0].stats()
    assert stats["chat_answered"] == 40
    assert stats["texts_answered"] >= 800
    # When no text waits any more, the last check of a node is sent alone. It is a few words, and takes no slot.
    assert stats["max_together"] <= 4


@pytest.mark.slow
def test_a_question_goes_before_bulk_work_of_either_kind(trio: list[Node]) -> None:
    one = trio[:1]
    one[0].control(texts_per_second=200, answer_tokens_per_second=100)
    spec = cluster(one, max_in_flight=2)
    proven = asyncio.run(verify_cluster(spec))
    chats = asyncio.run(verify_chat(spec))
    with Dispatcher(proven) as dispatcher, ChatDispatcher(chats, beside=dispatcher) as chat:
        # A quarter of a minute of work, so that it is far from done also where this process seldom gets a core.
        texts = [f"text {number}" for number in range(3000)]
        bulk_chat: list[ChatAnswers] = []
        workers = [
            threading.Thread(target=lambda: dispatcher.embed(texts)),
            threading.Thread(target=lambda: bulk_chat.append(chat.ask(questions(240)))),
        ]
        for worker in workers:
            worker.start()
        one[0].wait(chat_answered=1, answered=1)
        before = one[0].stats()
        check(chat.ask(questions(2), urgent=True), 2)
        dispatcher.embed(["a question"], kind="query")
        after = one[0].stats()
        one[0].control(speed=100.0)
        for worker in workers:
            worker.join()
    # Bulk work was far from done when the question had all its answers.
    assert after["chat_answered"] < 160
    assert after["texts_answered"] < 3000 or before["texts_answered"] < 2000
