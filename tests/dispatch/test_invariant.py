"""Whatever nodes, faults and texts: every text ends with its one right vector, or with an error of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from prefect_ollama.blocks.errors import ClusterError, TextTooLong
from prefect_ollama.blocks.nodes.verification import verify_cluster
from prefect_ollama.tasks.dispatch import Dispatcher, Embedded, Unfinished
from tests.dispatch.samples import DIMENSION, some, spec
from tests.nodes import NAMES, Node, expected_vector, nodes

MOST = 4
CONTEXT = 500
HIDING = {"other_weights", "wrong_order"}
"""A node that lies for a moment between two checks deceives everybody, one that goes on with it nobody."""

MINUTES = {"hang", "drip", "huge"}
"""They take as long as the time limit of a request when no other node is there."""


@dataclass(frozen=True)
class Case:
    """A cluster, what goes wrong on it and when, and the lists of texts."""

    nodes: list[dict[str, Any]]
    before: list[list[dict[str, Any]]]
    during: list[list[dict[str, Any]]]
    sizes: list[int]
    poisoned: set[int]
    long: set[int]
    most: int


@st.composite
def faults(draw: st.DrawFn, names: list[str]) -> dict[str, Any]:
    fault: dict[str, Any] = {"name": draw(st.sampled_from(names))}
    fault["after_requests"] = draw(st.integers(0, 6))
    if fault["name"] in HIDING:
        return fault
    if fault["name"] in MINUTES:
        fault["duration"] = draw(st.sampled_from([0.1, 0.5]))
    else:
        fault["duration"] = draw(st.sampled_from([0.05, 0.3, 1.0, None]))
    if fault["name"] not in {"down", "flap", "slow"}:
        fault["probability"] = draw(st.sampled_from([1.0, 1.0, 0.3]))
    if fault["name"] == "flap":
        fault["period"] = 0.2
    if fault["name"] == "huge":
        fault["size"] = 9 * 2**20
    return fault


@st.composite
def cases(draw: st.DrawFn) -> Case:
    count = draw(st.integers(1, MOST))
    each = st.fixed_dictionaries(
        {
            "texts_per_second": st.sampled_from([50.0, 200.0, 1000.0]),
            "request_overhead": st.sampled_from([0.0, 0.01]),
            "seed": st.integers(0, 9),
        }
    )
    sizes = draw(st.lists(st.integers(0, 120), min_size=1, max_size=4))
    total = sum(sizes)
    places = st.sets(st.integers(0, max(total - 1, 0)), max_size=3)
    return Case(
        nodes=draw(st.lists(each, min_size=count, max_size=count)),
        before=[draw(st.lists(faults(sorted(NAMES - {"too_long"})), max_size=1)) for _ in range(count)],
        during=[draw(st.lists(faults(sorted(NAMES - {"too_long"})), max_size=2)) for _ in range(count)],
        sizes=sizes,
        poisoned=draw(places),
        long=draw(places),
        most=draw(st.sampled_from([1, 7, 128])),
    )


HALF_DEAD = Case(
    nodes=[
        {"texts_per_second": 1000.0, "request_overhead": 0.01},
        {"texts_per_second": 200.0, "request_overhead": 0.01},
        {"texts_per_second": 50.0, "request_overhead": 0.01},
    ],
    before=[[], [], []],
    during=[
        [{"name": "nan", "after_requests": 4, "duration": 1.0, "probability": 0.3}],
        [
            {"name": "ragged", "after_requests": 2, "duration": 1.0},
            {"name": "drip", "after_requests": 2, "duration": 0.1},
        ],
        [{"name": "wrong_order", "after_requests": 0}],
    ],
    sizes=[101, 37, 23],
    poisoned={7, 77, 114},
    long={30, 72, 95},
    most=7,
)
"""One node drips the answer to a probe, another is left out: poison texts must not wait for either's word."""


@pytest.fixture(scope="module")
def farm() -> Iterator[list[Node]]:
    with nodes(*[{"dimension": DIMENSION, "context_length": CONTEXT}] * MOST) as made:
        yield made


@pytest.mark.slow
@pytest.mark.timeout(1200)  # 26 cases, some of which wait for the end of a node that hangs
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes
)
@given(case=cases())
@example(case=HALF_DEAD)
def test_every_text_has_one_right_vector_or_an_error_of_its_own(farm: list[Node], case: Case) -> None:
    made = farm[: len(case.nodes)]
    poison = {"name": "eof400", "marker": "POISON"}
    for node, changes, before in zip(made, case.nodes, case.before, strict=True):
        node.heal()
        node.control(**changes, faults=[poison, *before])
        node.wait(listening=0)
    texts = some(sum(case.sizes))
    for i in case.poisoned & set(range(len(texts))):
        texts[i] += "POISON"
    for i in case.long & set(range(len(texts))):
        texts[i] += "LONG" * 2 * CONTEXT
    try:
        cluster = asyncio.run(verify_cluster(spec(made, give_up_after=3.0, max_request_texts=case.most)))
    except ClusterError:
        return
    for node, during in zip(made, case.during, strict=True):
        node.control(faults=[poison, *during])
    jobs, start = [], 0
    for size in case.sizes:
        jobs.append(texts[start : start + size])
        start += size
    with Dispatcher(cluster) as dispatcher, ThreadPoolExecutor(len(jobs)) as pool:
        futures = [pool.submit(dispatcher.embed, job) for job in jobs]
        for job, future in zip(jobs, futures, strict=True):
            try:
                embedded, left = future.result(timeout=240), 0
            except Unfinished as error:
                embedded, left = error.embedded, error.left
                assert left > 0
            verify(job, embedded, left)


def verify(texts: list[str], embedded: Embedded, left: int) -> None:
    missing = 0
    for i, text in enumerate(texts):
        if i in embedded.failures:
            error = embedded.failures[i]
            assert error.text == text
            assert "POISON" in text or "LONG" in text, f"{text[:60]!r} is blamed: {error}"
            assert "LONG" in text or not isinstance(error, TextTooLong)
            assert embedded.nodes[i] == ""
        elif embedded.nodes[i] == "":
            missing += 1
            assert np.isnan(embedded.vectors[i]).all()
        else:
            assert "POISON" not in text
            assert "LONG" not in text
            np.testing.assert_allclose(embedded.vectors[i], expected_vector(text, DIMENSION), atol=1e-5)
    assert missing == left
