"""Unlike nodes are busy to the last text, and checks of what they give cost next to nothing. In virtual time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_ollama.tasks.dispatch import Unfinished
from tests.dispatch.virtual import DIMENSION, VirtualLoop, VirtualNode, embed
from tests.nodes import expected_vector

NEVER = st.none() | st.integers(0, 8)

THREE = (200.0, 10.0, 10.0)
EIGHT = (400.0, 200.0, 120.0, 80.0, 40.0, 20.0, 10.0, 5.0)
ORDERS = (0, 1, 2)


def node(slots: int, **more: st.SearchStrategy[int | None]) -> st.SearchStrategy[VirtualNode]:
    """Nodes that serve so many at once, with any faults."""
    faults = {"lies_after": NEVER, "mixes_after": NEVER, "dies_after": NEVER}
    rates, overheads = st.sampled_from([5.0, 50.0, 400.0]), st.sampled_from([0.0, 0.02])
    return st.builds(VirtualNode, rates, overheads, st.just(slots), **faults, **more)


def texts(count: int) -> list[str]:
    return [f"{i} ".ljust(400, "x") for i in range(count)]


def right(asked: Sequence[str], vectors: np.ndarray) -> bool:
    wanted = np.stack([expected_vector(text, DIMENSION) for text in asked])
    return bool(np.allclose(vectors, wanted, atol=1e-5))


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("rates", "count", "overhead", "slots", "least"),
    [
        pytest.param(THREE, 600, 0.0, 1, 0.975, id="600 texts"),
        pytest.param(THREE, 6000, 0.0, 1, 0.985, id="6,000 texts"),
        pytest.param(THREE, 600, 0.02, 1, 0.95, id="an overhead"),
        pytest.param(THREE, 600, 0.02, 4, 0.95, id="four slots"),
        pytest.param(EIGHT, 10_000, 0.0, 1, 0.98, id="eight nodes"),
    ],
)
@pytest.mark.parametrize("order", ORDERS)
def test_every_node_is_busy_to_the_end(
    monkeypatch: pytest.MonkeyPatch,
    rates: tuple[float, ...],
    count: int,
    overhead: float,
    slots: int,
    least: float,
    order: int,
) -> None:
    turned = [*rates[order:], *rates[:order]]
    made = [VirtualNode(rate, overhead, slots) for rate in turned]
    asked = texts(count)
    outcome = embed(monkeypatch, made, asked)
    assert right(asked, outcome.embedded.vectors)
    assert count / sum(node.saturated for node in made) / outcome.seconds >= least
    assert sum(node.texts for node in outcome.stats) == count


@pytest.mark.parametrize(
    ("count", "overhead", "slots", "least"),
    [
        (600, 0.0, 2, 0.95),
        (600, 0.0, 4, 0.92),
        (600, 0.02, 2, 0.89),
        (600, 0.02, 4, 0.87),
        (300, 0.0, 4, 0.83),
    ],
)
def test_the_first_node_to_answer_leaves_the_others_their_share(
    monkeypatch: pytest.MonkeyPatch, count: int, overhead: float, slots: int, least: float
) -> None:
    # The proofs show a quarter of the rates here, and of the other nodes nothing else is known when the first answers.
    made, asked = [VirtualNode(rate, overhead, slots) for rate in (200.0, 100.0, 100.0)], texts(count)
    outcome = embed(monkeypatch, made, asked)
    assert right(asked, outcome.embedded.vectors)
    assert count / sum(node.saturated for node in made) / outcome.seconds >= least


@pytest.mark.parametrize(("rates", "least"), [((200.0, 100.0, 100.0), 0.95), (THREE, 0.94)])
def test_no_node_takes_work_that_the_slots_of_others_would_do_sooner(
    monkeypatch: pytest.MonkeyPatch, rates: tuple[float, ...], least: float
) -> None:
    # The rates that the canaries show are right here, and the slots are not known before the first answers.
    made, asked = [VirtualNode(rate, slots=4, letters=400) for rate in rates], texts(600)
    outcome = embed(monkeypatch, made, asked)
    assert 600 / sum(node.saturated for node in made) / outcome.seconds >= least


@pytest.mark.parametrize("rates", [(200.0, 100.0, 100.0), THREE])
@pytest.mark.parametrize("slots", [1, 4])
def test_nothing_is_embedded_twice_by_healthy_nodes(
    monkeypatch: pytest.MonkeyPatch, rates: tuple[float, ...], slots: int
) -> None:
    made, asked = [VirtualNode(rate, 0.0, slots) for rate in rates], texts(600)
    outcome = embed(monkeypatch, made, asked)
    served = sum(node.served[text] for node in made for text in asked)
    wasted = sum(node.wasted for node in outcome.stats)
    # A text of each request that was among the last of its node may be embedded by another one too, to check it: of
    # one request for each slot, and of one that waited. A process that gets no CPU reads answers together, and checks
    # more of them; so this is in virtual time.
    assert 0 < served - len(asked) - wasted <= (slots + 1) * len(made)
    assert wasted <= 0.02 * len(asked)


@pytest.mark.parametrize(
    ("made", "count", "stalls"),
    [
        pytest.param(
            [
                VirtualNode(60.0, slots=4, latency=0.001, overtakes=4),
                VirtualNode(20.0, latency=0.02, overtakes=2),
                VirtualNode(100.0, slots=4, latency=0.02, overtakes=2),
                VirtualNode(20.0, latency=0.001, overtakes=4),
            ],
            60,
            None,
            id="four nodes",
        ),
        pytest.param(
            [
                VirtualNode(60.0, slots=4, latency=0.02),
                VirtualNode(400.0, slots=4, latency=0.001, overtakes=4),
            ],
            400,
            (0.3, 0.5),
            id="two nodes and stalls",
        ),
    ],
)
def test_a_text_counts_for_the_node_whose_vector_is_used(
    monkeypatch: pytest.MonkeyPatch, made: list[VirtualNode], count: int, stalls: tuple[float, float] | None
) -> None:
    asked = [f"{i} ".ljust(400, "x") for i in range(count)]
    outcome = embed(
        monkeypatch, made, asked, loop=lambda: VirtualLoop(stalls=stalls, torn=0.05 if stalls else 0.0)
    )
    # A hedge may answer later and be confirmed earlier.
    assert {node.name: node.texts for node in outcome.stats} == Counter(outcome.embedded.nodes)
    assert sum(node.wasted for node in outcome.stats) > 0


def test_a_copy_of_a_late_request_keeps_to_the_limit_of_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = [VirtualNode(200.0, slows_at=1.0), VirtualNode(100.0)], texts(400)
    outcome = embed(monkeypatch, made, asked, most=[128, 8])
    assert right(asked, outcome.embedded.vectors)
    assert outcome.stats[1].hedged
    assert made[1].largest <= 8


@pytest.mark.sampled(6)
@pytest.mark.parametrize(("at", "least"), [(1.5, 0.95), (2.0, 0.95), (2.25, 0.95), (2.5, 0.95), (3.0, 0.93)])
@pytest.mark.parametrize("order", ORDERS)
def test_a_node_that_slows_goes_on_with_what_it_has_begun(
    monkeypatch: pytest.MonkeyPatch, at: float, least: float, order: int
) -> None:
    made = [VirtualNode(200.0, slows_at=at), VirtualNode(100.0), VirtualNode(100.0)]
    asked = texts(3000)
    outcome = embed(monkeypatch, [*made[order:], *made[:order]], asked)
    assert right(asked, outcome.embedded.vectors)
    left = 3000 - 400 * at
    assert left / (100 + 100 + 20) / (outcome.seconds - at) >= least


@pytest.mark.parametrize(("wrong_node", "after"), list(itertools.product(range(3), (1, 4, 9))))
@pytest.mark.sampled(4)
def test_wrong_vectors_in_mid_run_are_found_and_cost_seconds(
    monkeypatch: pytest.MonkeyPatch, wrong_node: int, after: int
) -> None:
    made = [VirtualNode(rate) for rate in (200.0, 100.0, 100.0)]
    made[wrong_node].lies_after = after
    asked = texts(3000)
    outcome = embed(monkeypatch, made, asked)
    assert right(asked, outcome.embedded.vectors)
    assert outcome.stats[wrong_node].errors
    others = sum(node.texts_per_second for node in made) - made[wrong_node].texts_per_second
    assert outcome.seconds <= 3000 / others + 4.0


@pytest.mark.sampled(40)
@pytest.mark.parametrize("fault", ["lies_after", "mixes_after"])
@pytest.mark.parametrize(
    "overtakes", [None, 2, 3, *(pytest.param(each, marks=pytest.mark.slow) for each in (4, 5))]
)
@pytest.mark.parametrize(("wrong_node", "after"), list(itertools.product(range(3), (1, 2, 3, 4, 6))))
@pytest.mark.parametrize(
    ("count", "length"), [(60, 400), (200, 40), pytest.param(600, 40, marks=pytest.mark.slow)]
)
def test_wrong_vectors_of_requests_that_overtake_each_other_are_found(
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    length: int,
    wrong_node: int,
    after: int,
    overtakes: int | None,
    fault: str,
) -> None:
    made = [VirtualNode(rate) for rate in (200.0, 100.0, 100.0)]
    setattr(made[wrong_node], fault, after)
    made[wrong_node].overtakes = overtakes
    asked = [f"{i} ".ljust(length, "x") for i in range(count)]
    outcome = embed(monkeypatch, made, asked)
    assert right(asked, outcome.embedded.vectors)


@pytest.mark.sampled(18)
@pytest.mark.parametrize("fault", ["lies_after", "mixes_after"])
@pytest.mark.parametrize("stalls", [(0.1, 0.2), (0.3, 0.3)])
@pytest.mark.parametrize("overtakes", [None, 2, 3])
@pytest.mark.parametrize(("wrong_node", "after"), list(itertools.product(range(3), (2, 4))))
def test_wrong_vectors_of_answers_that_are_read_in_another_order_are_found(
    monkeypatch: pytest.MonkeyPatch,
    wrong_node: int,
    after: int,
    overtakes: int | None,
    stalls: tuple[float, float],
    fault: str,
) -> None:
    made = [VirtualNode(rate) for rate in (200.0, 100.0, 100.0)]
    setattr(made[wrong_node], fault, after)
    made[wrong_node].overtakes = overtakes
    asked = [f"{i} ".ljust(40, "x") for i in range(200)]
    outcome = embed(monkeypatch, made, asked, loop=lambda: VirtualLoop(stalls=stalls))
    assert right(asked, outcome.embedded.vectors)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    made=st.lists(node(1, overtakes=st.none() | st.integers(2, 5)) | node(4), min_size=1, max_size=4),
    count=st.integers(1, 300),
    most=st.sampled_from([1, 2, 7, 128]),
)
def test_no_wrong_vector_whoever_lies_and_dies(made: list[VirtualNode], count: int, most: int) -> None:
    for node in made:
        node.requests = 0
    asked = texts(count)
    with pytest.MonkeyPatch.context() as patch:
        try:
            embedded = embed(patch, made, asked, most=most).embedded
            left = 0
        except Unfinished as error:
            embedded, left = error.embedded, error.left
            faults = ((node.lies_after, node.mixes_after, node.dies_after) for node in made)
            assert all(any(after is not None for after in each) for each in faults)
    done = [i for i, name in enumerate(embedded.nodes) if name]
    assert len(done) + left == count
    if done:
        assert right([asked[i] for i in done], embedded.vectors[done])
