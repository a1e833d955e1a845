"""Wrong vectors from the middle of a run on are found, whatever delays this process has. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from prefect_ollama.blocks.nodes import Answer, LoopLag, NodeSpec
from prefect_ollama.blocks.nodes.canaries import CANARIES
from prefect_ollama.blocks.nodes.fingerprint import Fingerprint
from prefect_ollama.tasks.dispatch import Unfinished
from prefect_ollama.tasks.dispatch._node import Node
from prefect_ollama.tasks.dispatch._rate_model import RateModel
from prefect_ollama.tasks.dispatch._request import Request
from prefect_ollama.tasks.dispatch._request_kind import Carried
from prefect_ollama.tasks.dispatch._shared_limits import SharedLimits
from prefect_ollama.tasks.dispatch._verification import Verification
from prefect_ollama.tasks.dispatch.embedding import EmbeddingJob
from tests.dispatch.test_busy import right
from tests.dispatch.virtual import DIMENSION, VirtualLoop, VirtualNode, embed
from tests.nodes import expected_vector


def lies(rate: float, after: int, **more: Any) -> VirtualNode:
    return VirtualNode(rate, lies_after=after, **more)


@pytest.mark.parametrize(
    ("made", "count", "length", "stalls", "torn"),
    [
        pytest.param(
            [
                lies(400.0, 5, latency=0.001, overtakes=2),
                lies(100.0, 10, request_overhead=0.02, latency=0.02, overtakes=2),
                lies(50.0, 3, latency=0.001, overtakes=2),
            ],
            100,
            400,
            (0.02, 0.03),
            0.005,
            id="one slot, all lie",
        ),
        pytest.param(
            [
                lies(400.0, 8, latency=0.02, overtakes=4),
                lies(100.0, 10, latency=0.02, overtakes=4),
                lies(50.0, 1, overtakes=4),
            ],
            200,
            40,
            (0.02, 0.03),
            0.005,
            id="one slot, short texts",
        ),
        pytest.param(
            [
                lies(300.0, 6, request_overhead=0.02, slots=4, overtakes=3),
                lies(60.0, 9, slots=4, overtakes=3),
            ],
            1000,
            400,
            (0.3, 0.3),
            0.0,
            id="four slots, long stalls",
        ),
        pytest.param(
            [
                VirtualNode(300.0, request_overhead=0.02, slots=4, latency=0.001, overtakes=4, mixes_after=8),
                VirtualNode(60.0, slots=4, latency=0.001),
            ],
            200,
            400,
            (0.3, 0.3),
            0.1,
            id="four slots, the fastest mixes up vectors",
        ),
        pytest.param(
            [VirtualNode(100.0, slots=4, latency=0.001, overtakes=4, mixes_after=5)],
            60,
            400,
            (0.1, 0.2),
            0.1,
            id="four slots, vectors mixed up",
        ),
        pytest.param(
            [
                lies(200.0, 10, request_overhead=0.02, slots=4, latency=0.02, overtakes=4),
                VirtualNode(200.0, slots=2, latency=0.02),
                VirtualNode(200.0, slots=4, latency=0.001),
            ],
            1000,
            400,
            (0.11, 0.04),
            0.005,
            id="one of three lies",
        ),
        pytest.param(
            [
                VirtualNode(100.0, request_overhead=0.02, slots=2, latency=0.1),
                VirtualNode(200.0, slots=8, latency=0.02, overtakes=4),
                lies(20.0, 8, request_overhead=0.02, slots=4, overtakes=2),
            ],
            600,
            400,
            (0.3, 0.3),
            0.005,
            id="a slow one with four slots lies at the end of a short run",
        ),
    ],
)
def test_no_order_is_believed_that_stalls_of_this_process_may_have_made(
    monkeypatch: pytest.MonkeyPatch,
    made: list[VirtualNode],
    count: int,
    length: int,
    stalls: tuple[float, float],
    torn: float,
) -> None:
    asked = [f"{i} ".ljust(length, "x") for i in range(count)]
    try:
        embedded, left = (
            embed(monkeypatch, made, asked, loop=lambda: VirtualLoop(stalls=stalls, torn=torn)).embedded,
            0,
        )
    except Unfinished as error:
        embedded, left = error.embedded, error.left
    done = [i for i, name in enumerate(embedded.nodes) if name]
    assert len(done) + left == count
    assert not done or right([asked[i] for i in done], embedded.vectors[done])


@pytest.mark.parametrize(
    "made",
    [
        pytest.param([VirtualNode(400.0), lies(20.0, 5, lies_by=0.9995)], id="slow, checked by texts"),
        pytest.param([VirtualNode(400.0), lies(60.0, 5, lies_by=0.9995)], id="less slow"),
        pytest.param([VirtualNode(100.0), lies(100.0, 12, lies_by=0.9995)], id="checked by canaries"),
        pytest.param([lies(400.0, 10, lies_by=0.9995), VirtualNode(60.0)], id="fast"),
    ],
)
def test_another_quantization_that_a_node_loads_in_mid_run_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, made: list[VirtualNode]
) -> None:
    asked = [f"{i} ".ljust(800, "x") for i in range(2000)]
    outcome = embed(monkeypatch, made, asked)
    assert any(stats.errors for stats in outcome.stats)
    wanted = np.stack([expected_vector(text, DIMENSION) for text in asked])
    assert np.einsum("ij,ij->i", outcome.embedded.vectors, wanted).min() > 0.9999


@pytest.mark.parametrize(("turn", "after"), [(0.05, 3), (0.1, 5), (0.3, 7)])
def test_an_answer_that_was_read_beside_a_failed_check_is_discarded_too(
    monkeypatch: pytest.MonkeyPatch, turn: float, after: int
) -> None:
    # Its probe passes. So what the node gave before the failed check must be gone by then.
    made = [lies(100.0, after, slots=4, heals=True)]
    asked = [f"{i} ".ljust(400, "x") for i in range(100)]
    outcome = embed(monkeypatch, made, asked, loop=lambda: VirtualLoop(turn=turn))
    assert outcome.stats[0].errors
    assert right(asked, outcome.embedded.vectors)


def test_a_passed_check_confirms_what_was_answered_before_it_was_sent() -> None:
    asyncio.run(_confirm())


async def _confirm() -> None:
    node, check = _verification()
    first, second = _request(node, 0), _request(node, 1)
    assert not _answer(check, node, second)
    third = _request(node, 2, canaries=1)  # sent after the answer to the second, beside the first
    assert not _answer(check, node, first)
    assert _answer(check, node, third) == [second, third]
    assert check.discard_unverified(node) == first.items


def test_a_probe_confirms_what_was_answered_before_it_was_sent() -> None:
    asyncio.run(_probe())


async def _probe() -> None:
    node, check = _verification()
    first, second = _request(node, 0), _request(node, 1)
    _answer(check, node, first)
    answers = node.answered  # the probe is sent now
    _answer(check, node, second)
    assert [request for _, request, _ in check.verified(node, answers)] == [first]
    assert check.discard_unverified(node) == second.items


class _Client:
    def __init__(self) -> None:
        self.node = NodeSpec("n0")

    async def aclose(self) -> None:
        """Nothing is open."""


def _verification() -> tuple[Node, Verification]:
    node = Node(_Client(), RateModel(100.0, 1.0, 4), SharedLimits(None), LoopLag())
    reference = Fingerprint.measured(CANARIES, _vectors(CANARIES), digest="digest")
    return node, Verification([node], reference, 0.0)


def _request(node: Node, number: int, *, canaries: int = 0) -> Request:
    job = EmbeddingJob(["a", "b"], DIMENSION, prefix="", urgent=False, limit=2)
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    carried = Carried(CANARIES[:canaries])
    return Request(
        job.items,
        node.rate_model.sent(0.0, 1.0),
        future,  # type: ignore[arg-type]
        number,
        carried,
        answers_before=node.answered,
    )


def _answer(check: Verification, node: Node, request: Request) -> list[Request]:
    node.answered += 1
    request.place = node.answered
    texts = [*(item.payload for item in request.items), *request.carried.payloads]
    found = check.arrived(node, request, Answer(_vectors(texts), 0))
    assert not found.failed_checks
    return [confirmed for _, confirmed, _ in found.confirmed]


def _vectors(texts: Sequence[str]) -> np.ndarray:
    return np.stack([expected_vector(text, DIMENSION) for text in texts]).astype(np.float32)
