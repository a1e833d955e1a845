"""Callers of every kind: threads, event loops, cancelled ones, queries; and what a dispatcher leaves behind."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from pydantic import SecretStr

from prefect_ollama.blocks.errors import ClusterError
from prefect_ollama.blocks.nodes.verification import verify_cluster
from prefect_ollama.tasks.dispatch import Dispatcher, Unfinished, shared_dispatcher
from prefect_ollama.tasks.dispatch import dispatcher as dispatcher_module
from prefect_ollama.tasks.dispatch.embedding import EmbeddingJob
from tests.dispatch.samples import DIMENSION, check, first_vector, of, proven, some, spec
from tests.nodes import Node, expected_vector
from tests.waiting import all_nodes_awaited, until


def test_no_text_and_one_text(trio: list[Node]) -> None:
    with Dispatcher(proven(trio)) as dispatcher:
        nothing = dispatcher.embed([])
        assert nothing.vectors.shape == (0, DIMENSION)
        assert nothing.nodes == ()
        texts = some(1)
        check(texts, dispatcher.embed(texts))
        check(texts, dispatcher.embed(texts, kind="query"))
        check([""], dispatcher.embed([""]))
        check(texts * 7, dispatcher.embed(texts * 7))


def test_prefixes_are_sent_and_not_shown(trio: list[Node]) -> None:
    cluster = proven(trio, document_prefix="passage: ", query_prefix="query: ")
    texts = some(5)
    with Dispatcher(cluster) as dispatcher:
        documents, queries = dispatcher.embed(texts), dispatcher.embed(texts, kind="query")
    for i, text in enumerate(texts):
        assert documents.vectors[i] @ expected_vector("passage: " + text, DIMENSION) > 0.9999
        assert queries.vectors[i] @ expected_vector("query: " + text, DIMENSION) > 0.9999


def test_many_threads_at_once(trio: list[Node]) -> None:
    with Dispatcher(proven(trio)) as dispatcher, ThreadPoolExecutor(8) as pool:
        jobs = [some(30) for _ in range(36)]
        threads = [pool.submit(dispatcher.embed, texts) for texts in jobs]
        for texts, future in zip(jobs, threads, strict=True):
            check(texts, future.result(timeout=240))


def test_a_cancelled_caller_leaves_no_work_behind(trio: list[Node]) -> None:
    with Dispatcher(proven(trio[:1])) as dispatcher:
        trio[0].reset()
        parts = dispatcher.embed_parts(some(4000), 8)
        next(parts)
        # It answers nothing from now on, so that the caller leaves while a request is under way. It has read this
        # request, so that it counts the end of it.
        trio[0].control(faults=[{"name": "hang"}])
        trio[0].wait(hits=1)
        parts.close()
        trio[0].wait(cancelled=1)
        trio[0].heal()
        texts = some(10)
        check(texts, dispatcher.embed(texts))
        assert dispatcher.idle
        assert trio[0].stats()["texts_answered"] < 4000


def test_cancelled_at_once(trio: list[Node]) -> None:
    """Also in the turn of the loop in which its requests are sent."""
    with Dispatcher(proven(trio)) as dispatcher:
        for turns in range(1, 30):
            job = EmbeddingJob(some(50), DIMENSION, prefix="", urgent=False, limit=128)
            dispatcher.submit(job)
            for _ in range(turns):
                dispatcher.thread.run(lambda: None)
            dispatcher.cancel(job)
        texts = some(100)
        check(texts, dispatcher.embed(texts))
        # A request that was cancelled is counted until its connection is closed.
        until(lambda: all(node.in_flight == 0 for node in dispatcher.stats()) or None)
        assert not any(node.errors for node in dispatcher.stats())


def test_close_ends_callers_with_what_was_done(trio: list[Node]) -> None:
    dispatcher = Dispatcher(proven(trio))
    with ThreadPoolExecutor() as pool, first_vector() as there:
        # Work for ten seconds, to be closed in its midst also by a process that seldom gets a core.
        future = pool.submit(dispatcher.embed, some(12_000, length=400))
        assert there.wait(240)
        dispatcher.close()
        dispatcher.close()
        with pytest.raises(Unfinished, match="closed") as caught:
            future.result(timeout=240)
    error = caught.value
    assert 0 < error.left < 12_000
    assert error.left == error.embedded.nodes.count("")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.left, copy.embedded.nodes) == (str(error), error.left, error.embedded.nodes)
    with pytest.raises(ClusterError, match="closed"):
        dispatcher.embed(["too late"])
    assert dispatcher.stats()
    for node in trio:
        node.wait()
    assert not [thread for thread in threading.enumerate() if thread.name == "dispatcher"]


def test_parts_are_handed_over_while_others_wait(trio: list[Node]) -> None:
    texts = some(2001, length=400)
    with Dispatcher(proven(trio)) as dispatcher:
        for node in trio:
            node.reset()
            node.control(speed=0.2)
        parts = dispatcher.embed_parts(texts, 8)
        first, embedded = next(parts)
        check(list(first), embedded)
        assert sum(node.stats()["texts_answered"] for node in trio) < 2001
        for node in trio:
            node.control(speed=1.0)
        handed = [*first]
        for part, embedded in parts:
            check(list(part), embedded)
            handed += part
        assert sorted(handed) == sorted(texts)
        assert list(dispatcher.embed_parts([], 8)) == []


def test_parts_that_were_done_are_handed_over_before_the_error(trio: list[Node]) -> None:
    dispatcher = Dispatcher(proven(trio))
    parts = dispatcher.embed_parts(some(12_000), 8)
    handed = [next(parts)]
    dispatcher.close()
    with pytest.raises(ClusterError, match="closed") as caught:
        handed.extend(parts)
    made = sum(bool(node) for _, embedded in handed for node in embedded.nodes)
    assert 0 < made < 12_000
    assert caught.value.left == 12_000 - made


def test_a_caller_that_leaves_in_mid_part_takes_its_texts_along(trio: list[Node]) -> None:
    with Dispatcher(proven(trio)) as dispatcher:
        parts = dispatcher.embed_parts(some(3000), 8)
        next(parts)
        parts.close()
        texts = some(20)
        check(texts, dispatcher.embed(texts))
        assert dispatcher.idle


def test_a_query_overtakes_documents(trio: list[Node]) -> None:
    with Dispatcher(proven(trio[:1])) as dispatcher, ThreadPoolExecutor() as pool:
        trio[0].reset()
        documents = some(4000)
        future = pool.submit(dispatcher.embed, documents)
        trio[0].wait(answered=2)
        query = some(1)
        check(query, dispatcher.embed(query, kind="query"))
        assert trio[0].stats()["texts_answered"] < 4000
        assert not future.done()
        trio[0].control(speed=10.0)
        check(documents, future.result(timeout=240))


def test_a_cluster_travels_to_workers(trio: list[Node]) -> None:
    trio[1].control(faults=["down"])
    cluster = proven(trio, headers=(("x-key", SecretStr("hush")),))
    assert "hush" not in repr(cluster)
    copy = pickle.loads(pickle.dumps(cluster))
    assert copy.spec == cluster.spec
    assert str(copy.left_out["n1"]) == str(cluster.left_out["n1"])
    texts = some(20)
    with Dispatcher(copy) as dispatcher:
        check(texts, dispatcher.embed(texts))


def test_shared_dispatchers_of_old_runs_are_closed_when_idle(
    trio: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = proven(trio)
    monkeypatch.setattr(dispatcher_module, "KEEP_IDLE_S", 0.0)
    try:
        first = shared_dispatcher(cluster, "run 1")
        assert shared_dispatcher(cluster, "run 1") is first
        trio[0].reset()  # its answers to the canary texts are none to this job
        with ThreadPoolExecutor() as pool:
            texts = some(1500)
            future = pool.submit(first.embed, texts)
            trio[0].wait(answered=1)
            second = shared_dispatcher(cluster, "run 2")  # the first is busy: it stays
            check(texts, future.result(timeout=240))
        third = shared_dispatcher(cluster, "run 3")
        assert third not in (first, second)
        for closed in (first, second):
            with pytest.raises(ClusterError, match="closed"):
                closed.embed(["x"])
        check(["x"], third.embed(["x"]))
    finally:
        dispatcher_module._close_shared()


def test_an_idle_dispatcher_asks_nobody(trio: list[Node]) -> None:
    cluster = proven(trio)
    with Dispatcher(cluster) as idle:
        texts = some(90)
        trio[0].control(faults=["http500"])
        check(texts, idle.embed(texts))
        paths = Counter(trio[0].stats()["paths"])
        other = some(400)
        with Dispatcher(proven(trio[1:])) as busy:
            check(other, busy.embed(other))
        # A probe, which asks for each of these once, may have been under way; after that there is none.
        assert max((Counter(trio[0].stats()["paths"]) - paths).values(), default=0) <= 1
        trio[0].control(faults=[])
        while of(idle, "n0").state != "closed":
            texts = some(200)
            check(texts, idle.embed(texts))


def test_proxies_with_prefix_token_and_tls() -> None:
    secret = "Bearer hush"
    with (
        Node(
            dimension=DIMENSION, texts_per_second=400, prefix="/gpu/one", headers={"Authorization": secret}
        ) as one,
        Node(dimension=DIMENSION, texts_per_second=400, tls=True) as two,
        Node(dimension=DIMENSION, texts_per_second=400, headers={"Authorization": secret}) as refusing,
    ):
        plain = spec([one, two, refusing])
        first, second, third = plain.nodes
        first = replace(first, headers=(("Authorization", SecretStr(secret)),))
        second = replace(second, ca_bundle=two.ca_file)
        cluster = replace(plain, nodes=(first, second, third))
        texts = some(120)
        with all_nodes_awaited():
            done = asyncio.run(verify_cluster(cluster))
        assert set(done.verifications) == {first.name, second.name}
        assert "credentials" in str(done.left_out[third.name])
        assert "hush" not in str(done.left_out[third.name])
        with Dispatcher(done) as dispatcher:
            took_part: set[str] = set()
            while took_part != {first.name, second.name}:
                embedded = dispatcher.embed(texts)
                check(texts, embedded)
                took_part.update(embedded.nodes)
