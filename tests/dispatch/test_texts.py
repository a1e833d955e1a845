"""Texts that cannot be embedded cost themselves alone, and are named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from prefect_ollama.blocks.errors import TextTooLong
from prefect_ollama.tasks.dispatch import Dispatcher
from prefect_ollama.tasks.dispatch.dispatcher import Kind
from tests.cases import most_slow
from tests.dispatch.samples import check, of, proven, some
from tests.dispatch.virtual import VirtualNode, embed
from tests.nodes import Node, poison

POISONS = ("400", "500", "eof", "nan", "too_long")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", POISONS)
@pytest.mark.parametrize("count", most_slow([1, 3], but=[3]))
def test_one_poison_text_in_64_costs_that_text_alone_and_is_named(
    trio: list[Node], mode: Any, count: int
) -> None:
    texts = some(256)
    bad = range(17, 256, 64)
    for i in bad:
        texts[i] += " POISON"
    for node in trio[:count]:
        node.control(faults=[poison("POISON", mode)])
    with Dispatcher(proven(trio[:count])) as dispatcher:
        embedded = dispatcher.embed(texts)
        check(texts, embedded, failed=bad)
        for error in embedded.failures.values():
            assert isinstance(error, TextTooLong) == (mode == "too_long")
            if mode != "too_long":
                assert "it failed alone on n" in str(error)


@pytest.mark.parametrize("mode", POISONS)
@pytest.mark.sampled(2)
def test_a_poison_text_alone_is_named(trio: list[Node], mode: Any) -> None:
    for node in trio:
        node.control(faults=[poison("POISON", mode)])
    with Dispatcher(proven(trio)) as dispatcher:
        texts = [*some(1), "POISON alone"]
        check(texts[1:], dispatcher.embed(texts[1:]), failed=[0])
        check(texts, dispatcher.embed(texts), failed=[1])


@pytest.mark.parametrize("kind", ["document", "query"])
def test_a_text_that_each_node_refuses_once_is_embedded_unless_a_person_waits(
    trio: list[Node], kind: Kind
) -> None:
    for node in trio:
        node.control(faults=[poison("POISON", "400") | {"times": 1}])
    with Dispatcher(proven(trio)) as dispatcher:
        texts = ["POISON alone"]
        check(texts, dispatcher.embed(texts, kind=kind), failed=[0] if kind == "query" else [])


def test_a_poison_text_does_not_wait_for_the_word_of_a_node_that_hangs(trio: list[Node]) -> None:
    texts = some(256)
    texts[17] += " POISON"
    for node in trio:
        node.control(faults=[poison("POISON", "eof")])
    with Dispatcher(proven(trio)) as dispatcher, ThreadPoolExecutor(1) as pool:
        trio[0].control(faults=[{"name": "hang"}])
        # The probes of a node that hangs take 5, 10, 20, 40 seconds.
        embedded = pool.submit(dispatcher.embed, texts).result(timeout=240)
        check(texts, embedded, failed=[17])
        assert of(dispatcher, "n0").state != "closed"


def test_a_server_that_fails_only_while_it_has_several_requests_costs_no_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embedded = embed(monkeypatch, [VirtualNode(400.0, one_at_a_time=True)], some(160)).embedded
    assert not embedded.failures
    assert not np.isnan(embedded.vectors).any()


def test_a_text_that_one_node_alone_cannot_take_is_embedded_by_another(trio: list[Node]) -> None:
    texts = some(100)
    texts[50] += " POISON"
    for node in trio[:2]:
        node.control(faults=[poison("POISON", "eof")])
    with Dispatcher(proven(trio)) as dispatcher:
        embedded = dispatcher.embed(texts)
        check(texts, embedded)
        assert embedded.nodes[50] == "n2"


def test_a_text_beyond_the_context_of_all_is_too_long_and_of_one_is_not(trio: list[Node]) -> None:
    cluster = proven(trio)  # before, because the context that most nodes give is that of all
    trio[0].control(context_length=500)
    trio[1].control(context_length=500)
    for _ in range(12):  # now and then a text travels with one that is too long, to check another node by it
        texts = [*some(40), *some(2, length=3000), *some(40), *some(1, length=9000)]
        with Dispatcher(cluster) as dispatcher:
            embedded = dispatcher.embed(texts)
            check(texts, embedded, failed=[82])
            assert isinstance(embedded.failures[82], TextTooLong)
            assert embedded.nodes[40:42] == ("n2", "n2")


def test_a_text_that_is_no_unicode_is_named_and_not_sent(trio: list[Node]) -> None:
    texts = some(10)
    texts[3] = "half a pair \ud800"
    with Dispatcher(proven(trio)) as dispatcher:
        embedded = dispatcher.embed(texts)
        assert list(embedded.failures) == [3]
        assert "no valid Unicode" in str(embedded.failures[3])
        assert embedded.failures[3].text == "half a pair \\ud800"
        texts[3] = "ä🙂中 is fine"
        check(texts, dispatcher.embed(texts))
