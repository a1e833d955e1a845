"""Nodes fail in every way there is: nothing lost, nothing doubled, no wrong vector, and the cause is named."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from prefect_ollama.blocks.errors import NodeRefused
from prefect_ollama.blocks.nodes.verification import verify_cluster
from prefect_ollama.tasks.dispatch import Dispatcher, Unfinished
from prefect_ollama.tasks.dispatch import _breaker as breaker
from tests.cases import most_slow
from tests.dispatch.samples import DIMENSION, check, first_vector, of, proven, some, spec
from tests.nodes import Node, expected_vector
from tests.waiting import until

# What the figures must say of a node with the fault.
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "500": ({"name": "http500"}, "500"),
    "502": ({"name": "http502"}, "502"),
    "503": ({"name": "http503"}, "busy"),
    "503, retry later": ({"name": "http503", "retry_after": "1"}, "busy"),
    "429": ({"name": "http429", "retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, "busy"),
    "400 with EOF": ({"name": "eof400"}, "EOF"),
    "500 with EOF": ({"name": "eof500"}, "EOF"),
    "400 for NaN": ({"name": "nan400"}, "NaN"),
    "400 for all": ({"name": "http400"}, "invalid input"),
    "too long for all": ({"name": "too_long"}, "context"),
    "404": ({"name": "missing_model"}, "does not have the model"),
    "401": ({"name": "unauthorized"}, "credentials"),
    "403": ({"name": "forbidden"}, "403"),
    "501": ({"name": "no_embedding"}, "cannot embed"),
    "connection closed": ({"name": "close"}, "broke off"),
    "reset in mid-body": ({"name": "reset"}, "broke off"),
    "short body": ({"name": "short_body"}, "broke off"),
    "half a JSON": ({"name": "half_json"}, "JSON that cannot be read"),
    "a page": ({"name": "html"}, "no embedding"),
    "redirect": ({"name": "redirect"}, "redirects"),
    "a vector less": ({"name": "wrong_count"}, "vectors for"),
    "a vector more": ({"name": "wrong_count", "by": 1}, "vectors for"),
    "a dimension less": ({"name": "wrong_dimension"}, "dimensions"),
    "ragged": ({"name": "ragged"}, "unequal length"),
    "NaN": ({"name": "nan"}, "JSON that cannot be read"),
    "infinite": ({"name": "inf"}, "JSON that cannot be read"),
    "null": ({"name": "null"}, "norm"),
    "null vector": ({"name": "null_vector"}, "vectors"),
    "zero": ({"name": "zero"}, "norm"),
    "not normalised": ({"name": "unnormalised"}, "norm"),
    "refuses connections": ({"name": "down"}, "cannot be connected"),
    "huge": ({"name": "huge", "size": 64 * 2**20}, "MiB"),
    "hangs": ({"name": "hang"}, "did not answer in the expected time"),
    "drips": ({"name": "drip"}, "did not answer in the expected time"),
    "other weights": ({"name": "other_weights"}, "another vector"),
    "wrong order": ({"name": "wrong_order"}, "another vector"),
}

SILENT = {"hangs", "drips"}
LIES = {"other weights", "wrong order"}
REFUSALS = {"401", "403", "404", "501", "redirect"}
# One of each kind, which must be noticed in another way.
QUICK = (
    *("500", "503, retry later", "400 for all", "401", "reset in mid-body", "NaN"),
    *("too long for all", "hangs", "drips", "other weights", "wrong order"),
)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("fault", most_slow(FAULTS, but=QUICK))
def test_a_fault_of_one_node_in_mid_run_costs_nothing(trio: list[Node], fault: str) -> None:
    settings, cause = FAULTS[fault]
    count = 0
    with Dispatcher(proven(trio)) as dispatcher:
        trio[1].reset()
        trio[1].control(faults=[settings | {"after_requests": 1}])
        # On a busy machine a node is given longer before its silence counts, or it gets no core during a job; then the
        # others end the job sooner. Each job is longer than the one before it: a node that has been silent for a whole
        # job counts as so slow that it gets nothing of another one of that length.
        while not (stats := of(dispatcher, "n1")).errors:
            texts = some(count + (1500 if fault in SILENT else 600))
            count += len(texts)
            embedded = dispatcher.embed(texts)
            check(texts, embedded)
        assert any(cause in said for said in stats.errors), stats.errors
        assert cause in stats.last_error or len(stats.errors) > 1
        # It took what it could before, and the others did the rest.
        assert set(embedded.nodes) >= {"n0", "n2"}
        assert sum(node.texts for node in dispatcher.stats()) == count
        assert dispatcher.idle


@pytest.mark.sampled(8)
@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - SILENT - {"huge"}))
def test_a_fault_from_the_start_leaves_the_node_out_and_names_it(trio: list[Node], fault: str) -> None:
    settings, _ = FAULTS[fault]
    texts = some(60)
    trio[1].control(faults=[settings])
    cluster = proven(trio)
    assert set(cluster.verifications) == {"n0", "n2"}
    assert cluster.left_out["n1"].node == "n1"
    with Dispatcher(cluster) as dispatcher:
        check(texts, dispatcher.embed(texts))
        assert of(dispatcher, "n1").texts == 0
        assert of(dispatcher, "n1").last_error


# All nodes calling a text too long is the truth by definition; one refusal stands for the others here, as the
# wait after them is the same; a lie that passes sooner than the next check is believed.
@pytest.mark.parametrize(
    "fault",
    most_slow(
        [*sorted(FAULTS.keys() - SILENT - REFUSALS - LIES - {"huge", "too long for all"}), "401"],
        but=QUICK[:6],
    ),
)
@pytest.mark.sampled(3)
def test_a_fault_of_all_nodes_that_passes_is_survived(trio: list[Node], fault: str) -> None:
    settings, _ = FAULTS[fault]
    texts = some(600)
    with Dispatcher(proven(trio)) as dispatcher:
        for node in trio:
            node.reset()
            node.control(faults=[settings | {"after_requests": 1, "duration": 0.3}])
        check(texts, dispatcher.embed(texts))
        # A 400 may be a text's fault: where it has passed before a text was sent alone, no node is blamed.
        assert fault == "400 for all" or any(node.errors for node in dispatcher.stats())


@pytest.mark.parametrize("fault", sorted(LIES))
def test_nodes_that_all_lie_from_some_moment_on_end_the_run_with_nothing_wrong(
    trio: list[Node], fault: str
) -> None:
    settings, cause = FAULTS[fault]
    texts = some(3000, length=400)
    with Dispatcher(proven(trio, give_up_after=0.5)) as dispatcher:
        for node in trio:
            node.reset()
            node.control(faults=[settings | {"after_requests": 8}])
        with pytest.raises(Unfinished, match="vector") as caught:
            dispatcher.embed(texts)
        done = [i for i, name in enumerate(caught.value.embedded.nodes) if name]
        for i in done:
            np.testing.assert_allclose(
                caught.value.embedded.vectors[i], expected_vector(texts[i], DIMENSION), atol=1e-5
            )
        assert all(any(cause in said for said in node.errors) for node in dispatcher.stats())


@pytest.mark.parametrize("fault", sorted(LIES))
def test_a_node_that_lies_and_then_dies_is_found_out(trio: list[Node], fault: str) -> None:
    settings, cause = FAULTS[fault]
    texts = some(900)
    with Dispatcher(proven(trio)) as dispatcher, ThreadPoolExecutor() as pool:
        trio[1].reset()
        trio[1].control(faults=[settings | {"after_requests": 1}])
        # The others answer nothing until it has lied and is dead: they might do all the work while it gets no core.
        others = trio[0], trio[2]
        for node in others:
            node.freeze()
        try:
            future = pool.submit(dispatcher.embed, texts)
            trio[1].wait(answered=2)
            trio[1].kill()
        finally:
            for node in others:
                node.thaw()
        check(texts, future.result(timeout=240))
        assert any(cause in said for said in of(dispatcher, "n1").errors)


def test_a_node_that_takes_the_canaries_and_rejects_all_else_works_for_nobody(trio: list[Node]) -> None:
    for name in ("http400", "http500", "eof400", "too_long"):
        texts = some(300)
        trio[0].control(faults=[{"name": name, "marker": "text"}])
        with Dispatcher(proven(trio)) as dispatcher:
            # The others may do all the work while n0 gets no core.
            while not of(dispatcher, "n0").errors:
                check(texts, dispatcher.embed(texts))
                assert of(dispatcher, "n0").texts == 0


def test_nodes_that_take_the_canaries_and_fail_all_else_end_the_run(trio: list[Node]) -> None:
    for node in trio[:2]:
        node.control(faults=[{"name": "http500", "marker": "text"}])
    with Dispatcher(proven(trio[:2], give_up_after=1.0)) as dispatcher:
        with pytest.raises(Unfinished, match="500") as caught:
            dispatcher.embed(some(300))
        assert caught.value.left == 300


def test_an_answer_that_comes_after_the_last_node_failed_does_not_keep_the_run_from_ending(
    trio: list[Node],
) -> None:
    texts = some(600)
    with Dispatcher(proven(trio[:1], give_up_after=1.0)) as dispatcher, ThreadPoolExecutor() as pool:
        # The fourth request fails at once, while those before it are still being served.
        trio[0].control(faults=[{"name": "http500", "after_requests": 3}])
        future = pool.submit(dispatcher.embed, texts)
        with pytest.raises(Unfinished, match="500") as caught:
            future.result(timeout=240)
        # What came of it was never checked, because the node failed for good.
        assert caught.value.left == len(texts)


@pytest.mark.slow
def test_all_nodes_gone_for_good_end_the_run_with_what_was_done(trio: list[Node]) -> None:
    texts = some(9000, length=400)
    with (
        Dispatcher(proven(trio, give_up_after=0.5)) as dispatcher,
        ThreadPoolExecutor() as pool,
        first_vector() as there,
    ):
        for node in trio:
            # Work for half a minute, to be ended in its midst also by a process that seldom gets a core.
            node.control(speed=0.2)
        future = pool.submit(dispatcher.embed, texts)
        assert there.wait(240)
        for node in trio:
            node.kill()
        with pytest.raises(Unfinished) as caught:
            future.result(timeout=240)
        error = caught.value
        for name in ("n0", "n1", "n2"):
            assert f"Node {name!r}" in str(error)
        done = [i for i, name in enumerate(error.embedded.nodes) if name]
        assert done
        assert error.left == len(texts) - len(done)
        for i in done:
            np.testing.assert_allclose(
                error.embedded.vectors[i], expected_vector(texts[i], DIMENSION), atol=1e-5
            )
        # A dispatcher is not spent by that: it works on as soon as a node is back.
        trio[2].restart()
        rest = [texts[i] for i, name in enumerate(error.embedded.nodes) if not name][:600]
        check(rest, dispatcher.embed(rest))


def test_all_nodes_gone_for_a_while_and_back(trio: list[Node]) -> None:
    texts = some(600)
    with Dispatcher(proven(trio)) as dispatcher, ThreadPoolExecutor() as pool:
        future = pool.submit(dispatcher.embed, texts)
        for node in trio:
            node.wait(answered=3)
        for node in trio:
            node.kill()
        for node in trio:
            node.restart()
        check(texts, future.result(timeout=240))


def test_a_killed_node_comes_back_and_works_again(trio: list[Node]) -> None:
    with Dispatcher(proven(trio)) as dispatcher, ThreadPoolExecutor() as pool:
        texts = some(400)
        future = pool.submit(dispatcher.embed, texts)
        trio[1].wait(answered=3)
        trio[1].kill()
        check(texts, future.result(timeout=240))
        trio[1].restart()
        embedded = None
        while embedded is None or "n1" not in embedded.nodes:
            texts = some(200)
            embedded = dispatcher.embed(texts)
            check(texts, embedded)
        assert of(dispatcher, "n1").state == "closed"


def test_a_node_that_comes_back_with_other_weights_stays_out(trio: list[Node]) -> None:
    with Dispatcher(proven(trio)) as dispatcher, ThreadPoolExecutor() as pool:
        texts = some(600)
        future = pool.submit(dispatcher.embed, texts)
        trio[1].wait(answered=3)
        trio[1].control(weights="b", faults=["down"])
        trio[1].control(faults=[])
        check(texts, future.result(timeout=240))
        # It is asked what it is only after a pause, by when the first job may be over.
        while "another model" not in of(dispatcher, "n1").last_error:
            texts = some(400)
            embedded = dispatcher.embed(texts)
            check(texts, embedded)
        assert of(dispatcher, "n1").state != "closed"


@pytest.mark.parametrize(
    "changes", [{"digest": "d" * 64}, {"weights": "b"}, {"weights": "b", "version": "0.24.0"}]
)
@pytest.mark.sampled(1)
def test_a_node_excluded_for_its_model_embeds_nothing_until_that_is_another(
    trio: list[Node], changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "REFUSED_WAIT_S", 0.05)
    monkeypatch.setattr(breaker, "MAX_PROBE_WAIT_S", 0.05)
    trio[1].control(**changes)
    cluster = proven(trio)
    assert isinstance(cluster.left_out["n1"], NodeRefused)
    trio[1].reset()
    with Dispatcher(cluster) as dispatcher:
        while trio[1].stats()["paths"].get("/api/tags", 0) < 10:
            texts = some(200)
            check(texts, dispatcher.embed(texts))
        assert "/api/embed" not in trio[1].stats()["paths"]
        assert of(dispatcher, "n1").errors == {cluster.left_out["n1"].cause: 1}
        trio[1].heal()
        trio[1].control(version="0.33.9")  # a digest says nothing of a change that the server made
        until(lambda: "n1" in dispatcher.embed(some(200)).nodes)
        assert of(dispatcher, "n1").texts > 0


def test_a_node_that_flaps_every_second_breaks_nothing(trio: list[Node]) -> None:
    texts = some(1800)
    with Dispatcher(proven(trio)) as dispatcher:
        trio[0].control(faults=[{"name": "flap", "period": 0.4}])
        trio[1].control(faults=[{"name": "flap", "period": 0.3}])
        check(texts, dispatcher.embed(texts))
        assert of(dispatcher, "n0").errors


def test_a_slow_down_to_a_tenth_delays_nothing_that_others_can_do(trio: list[Node]) -> None:
    texts = some(1200)
    with Dispatcher(proven(trio)) as dispatcher:
        trio[0].control(faults=[{"name": "slow", "factor": 0.02, "after_requests": 3}])
        embedded = dispatcher.embed(texts)
        check(texts, embedded)
        assert embedded.nodes.count("n0") < 300


def test_a_node_that_hangs_from_the_start_delays_nothing(trio: list[Node]) -> None:
    trio[1].control(faults=[{"name": "hang", "paths": ["*"]}])
    cluster = asyncio.run(verify_cluster(spec(trio)))
    assert set(cluster.verifications) == {"n0", "n2"}
    assert "was not ready" in str(cluster.left_out["n1"])
    with Dispatcher(cluster) as dispatcher:
        texts = some(200)
        check(texts, dispatcher.embed(texts))


def test_retry_after_is_kept(trio: list[Node]) -> None:
    texts = some(60)
    with Dispatcher(proven(trio[:1])) as dispatcher:
        trio[0].reset()
        trio[0].control(faults=[{"name": "http503", "retry_after": "1", "times": 1}])
        check(texts, dispatcher.embed(texts))
        # Refused once, then left alone until the probe: no request in between.
        assert trio[0].stats()["hits"] <= 2
