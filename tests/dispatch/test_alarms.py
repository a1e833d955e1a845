"""No healthy node is said to be silent, however this machine or the node's is loaded."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
from collections.abc import Iterator

import pytest

from prefect_ollama.blocks.errors import NodeError
from prefect_ollama.blocks.nodes._gather import gather_by_node
from prefect_ollama.blocks.nodes.verification import verify_cluster
from prefect_ollama.tasks.dispatch import Dispatcher
from tests.dispatch.samples import DIMENSION, check, some, spec
from tests.dispatch.virtual import VirtualLoop, VirtualNode, embed
from tests.nodes import nodes

LOAD = 16
"""Processes that want a core all the time."""


@pytest.mark.sampled(6)
@pytest.mark.parametrize("seconds", [1.0, 5.0, 20.0, 600.0])
@pytest.mark.parametrize("at", [0.001, 0.4, 3.0])
@pytest.mark.parametrize("rates", [(200.0, 100.0, 10.0), (20.0,)])
def test_a_stop_of_our_own_process_is_no_silence_of_nodes(
    monkeypatch: pytest.MonkeyPatch, rates: tuple[float, ...], at: float, seconds: float
) -> None:
    made = [VirtualNode(rate) for rate in rates]
    loop = functools.partial(VirtualLoop, stop=(at, seconds))
    outcome = embed(monkeypatch, made, some(int(5 * sum(rates))), loop=loop)
    assert outcome.seconds > at + seconds
    assert not outcome.embedded.failures
    assert not any(node.errors or node.state != "closed" for node in outcome.stats)


@pytest.mark.parametrize("turn", [0.01, 0.1, 0.4])
def test_a_process_that_seldom_gets_a_core_blames_no_node(
    monkeypatch: pytest.MonkeyPatch, turn: float
) -> None:
    made = [VirtualNode(rate) for rate in (200.0, 100.0, 10.0)]
    loop = functools.partial(VirtualLoop, turn=turn)
    outcome = embed(monkeypatch, made, some(1000), loop=loop)
    assert not outcome.embedded.failures
    assert not any(node.errors or node.state != "closed" for node in outcome.stats)


def test_others_get_longer_where_the_first_node_took_long_itself() -> None:
    async def gathered(first: float, second: float) -> dict[str, NodeError]:
        left_out: dict[str, NodeError] = {}
        work = {"first": asyncio.sleep(first), "second": asyncio.sleep(second)}
        await gather_by_node(work, left_out, grace=2.0)
        return left_out

    def left_out(first: float, second: float) -> dict[str, NodeError]:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(gathered(first, second))

    assert not left_out(0.1, 2.0)
    assert "was not ready 2 s after" in str(left_out(0.1, 2.2)["second"])
    assert not left_out(2.0, 7.9)
    assert "was not ready 8 s after" in str(left_out(10.0, 19.0)["second"])


def test_results_are_in_the_order_of_the_nodes_whoever_answers_first() -> None:
    async def gathered() -> dict[str, None]:
        work = {"slow": asyncio.sleep(1.0), "quick": asyncio.sleep(0.5)}
        return await gather_by_node(work, {}, grace=2.0)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert list(runner.run(gathered())) == ["slow", "quick"]


def test_a_stop_of_our_own_process_leaves_no_node_out() -> None:
    async def gathered() -> dict[str, NodeError]:
        left_out: dict[str, NodeError] = {}
        # Both answer within a second; the process is stopped between the answers.
        await gather_by_node({"first": asyncio.sleep(0.5), "second": asyncio.sleep(1.0)}, left_out, grace=2.0)
        return left_out

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(stop=(0.55, 60.0))) as runner:
        assert not runner.run(gathered())


@pytest.fixture
def load() -> Iterator[None]:
    made = [subprocess.Popen((sys.executable, "-c", "while True: pass")) for _ in range(LOAD)]
    try:
        yield
    finally:
        for process in made:
            process.kill()
        for process in made:
            process.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("load")
def test_under_load_no_healthy_node_is_said_to_fail() -> None:
    quick, slow = {"texts_per_second": 100.0}, {"texts_per_second": 40.0}
    with nodes(*({"dimension": DIMENSION, **each} for each in (quick, slow, slow, slow))) as made:
        cluster = asyncio.run(verify_cluster(spec(made)))
        assert not cluster.left_out
        with Dispatcher(cluster) as dispatcher:
            for _ in range(3):
                texts = some(600)
                check(texts, dispatcher.embed(texts))
                assert not any(node.errors for node in dispatcher.stats())
