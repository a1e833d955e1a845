"""Tuning: the search finds the smallest good setting, in its time, and the load measures what a node really does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree import ElementTree

import pytest

from prefect_ollama.blocks.errors import InputRejected, NodeBusy, NodeError, NodeFailed
from prefect_ollama.blocks.nodes._ollama import OllamaEndpoint
from prefect_ollama.blocks.nodes.spec import ModelSpec, NodeSpec
from prefect_ollama.tasks.tuning import Load, Point, Tuning, choose, draw_curve, search, texts_of
from prefect_ollama.tasks.tuning._setting_search import PLANNED_MEASUREMENTS
from tests.nodes import Node


@dataclass
class Ideal:
    """A node that does exactly what its parts allow, in a time of its own that only measuring spends.

    Attributes:
        text: Seconds of a slot for a text.
        overhead: Seconds of a slot for a request.
        latency: Seconds on the way, which hold no slot.
        slots: Requests served at once.
        most: Texts under way that it takes; more are refused.
    """

    text: float
    overhead: float = 0.0
    latency: float = 0.0
    slots: int = 1
    most: int = 10**9
    clock: float = 0.0
    asked: list[tuple[int, int]] = field(default_factory=list)

    def rate(self, in_flight: int, texts: int) -> float:
        served = self.overhead + texts * self.text
        return texts * min(in_flight / (self.latency + served), self.slots / served)

    async def __call__(self, in_flight: int, texts: int, seconds: float) -> Point:
        self.asked.append((in_flight, texts))
        if in_flight * texts > self.most:
            raise NodeBusy("is busy (429).", node="ideal", status=429)
        rate = self.rate(in_flight, texts)
        wait = in_flight * texts / rate
        self.clock += max(seconds + wait, 3 * wait)
        return Point(in_flight, texts, rate, wait, wait, seconds)

    def tune(self, *, seconds: float = 60.0, longest: float = 5.0) -> Tuning:
        return asyncio.run(search(self, seconds=seconds, longest=longest, now=lambda: self.clock))

    @property
    def ceiling(self) -> float:
        return self.slots / self.text


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Ideal(0.005), (2, 8)),
        (Ideal(0.0005, overhead=0.005), (2, 256)),
        (Ideal(0.02, overhead=0.02, slots=4), (4, 32)),
        (Ideal(0.001, latency=0.2), (32, 8)),
        (Ideal(1.0), (2, 1)),
        (Ideal(4.0), (1, 1)),
    ],
    ids=["plain", "overhead", "slots", "far away", "slow", "very slow"],
)
def test_the_smallest_setting_that_loses_next_to_nothing_is_chosen(
    node: Ideal, expected: tuple[int, int]
) -> None:
    found = node.tune()
    assert found.chosen.setting == expected
    assert found.chosen.p95 <= 5.0
    assert found.explored
    assert not found.stopped
    # Nothing smaller that was measured, nor anything else in the field, is so much better.
    reachable = [
        node.rate(f, n)
        for f in range(2, 33)
        for n in (8, 16, 32, 64, 128, 256)
        if f * n / node.rate(f, n) <= 5.0
    ]
    if reachable:
        assert found.chosen.texts_per_second >= 0.95 * max(reachable)


def test_it_ends_with_its_time_and_has_a_setting_however_little_there_is() -> None:
    for seconds in (0.5, 5.0, 60.0):
        node = Ideal(0.02, overhead=0.02, slots=4)
        found = node.tune(seconds=seconds)
        last = node.asked[-1]
        assert node.clock <= seconds + 3 * (
            last[0] * last[1] / node.rate(*last) + seconds / PLANNED_MEASUREMENTS
        )
        assert found.chosen in found.points
        assert found.explored == (seconds == 60.0)


@pytest.mark.parametrize(
    ("seconds", "explored"), [(1.0, (False, False)), (5.0, (True, False)), (60.0, (True, True))]
)
def test_it_says_what_the_time_did_not_do_for(seconds: float, explored: tuple[bool, bool]) -> None:
    found = Ideal(0.02, overhead=0.02, slots=4).tune(seconds=seconds)
    assert (found.in_flight_explored, found.texts_explored) == explored


@pytest.mark.parametrize("seconds", [20.0, 45.0])
def test_how_many_a_node_serves_at_once_is_found_first(seconds: float) -> None:
    node = Ideal(0.02, overhead=0.02, slots=4)
    found = node.tune(seconds=seconds)
    assert found.chosen.in_flight == 4
    assert found.chosen.texts_per_second > 0.9 * node.ceiling


def test_what_must_take_too_long_is_not_tried() -> None:
    node = Ideal(0.1)
    found = node.tune(longest=2.0)
    assert found.chosen.setting == (2, 8)
    # Twenty texts take the two seconds.
    assert max(f * n for f, n in node.asked) <= 1.5 * 20


def test_a_node_that_refuses_more_is_tuned_below_that() -> None:
    node = Ideal(0.001, overhead=0.02, slots=4, most=160)
    found = node.tune()
    assert found.chosen.in_flight * found.chosen.texts <= 160
    assert "429" in found.stopped
    refused = [setting for setting in node.asked if setting[0] * setting[1] > 160]
    assert len(refused) == len(set(refused)), "it does not ask again for what was refused"
    with pytest.raises(NodeBusy):
        Ideal(0.001, most=0).tune()


def test_settings_between_which_the_choice_lies_are_measured_again() -> None:
    node = Ideal(0.005)
    node.tune()
    assert node.asked.count((2, 8)) == 3
    assert node.asked.count((1, 1)) == 1


@pytest.mark.parametrize(
    ("points", "longest", "expected"),
    [
        # in flight, texts, rate, p95
        ([(2, 8, 98, 1), (2, 16, 100, 1), (4, 16, 101, 1)], 5, (2, 8)),
        ([(2, 8, 90, 1), (2, 16, 100, 1), (4, 16, 101, 1)], 5, (2, 16)),
        ([(2, 8, 90, 1), (2, 16, 100, 9)], 5, (2, 8)),
        ([(4, 8, 100, 1), (2, 16, 100, 1)], 5, (2, 16)),
        ([(1, 8, 100, 1), (2, 8, 100, 1)], 5, (2, 8)),
        ([(1, 1, 100, 1), (2, 4, 100, 1), (2, 8, 100, 1)], 5, (2, 8)),
        ([(1, 1, 1, 9), (2, 1, 1, 18)], 5, (1, 1)),
    ],
)
def test_the_choice(
    points: list[tuple[int, int, float, float]], longest: float, expected: tuple[int, int]
) -> None:
    made = [Point(f, n, rate, p95, p95, 1.0) for f, n, rate, p95 in points]
    assert choose(made, longest=longest).setting == expected


def test_two_measurements_of_a_setting_are_one() -> None:
    joined = Point(2, 8, 100, 0.1, 0.2, 1.0).joined(Point(2, 8, 70, 0.4, 0.5, 2.0))
    assert (joined.texts_per_second, joined.p95, joined.seconds) == (pytest.approx(80), 0.5, 3.0)


# On a real wire


@pytest.fixture(scope="module")
def running() -> Iterator[Node]:
    with Node(dimension=16, pool=8) as started:
        yield started


@pytest.fixture
def node(running: Node) -> Iterator[Node]:
    running.heal()
    running.reset()
    yield running
    running.heal()


def measure(node: Node, in_flight: int, texts: int) -> Point:
    async def load() -> Point:
        async with OllamaEndpoint(NodeSpec("it", node.url), ModelSpec("nomic-embed-text")) as client:
            return await Load(client, texts_of(50, 64), timeout=10)(in_flight, texts, seconds=0.2)

    return asyncio.run(load())


@pytest.mark.parametrize(("in_flight", "texts"), [(1, 4), (3, 8), (8, 1)])
def test_the_load_keeps_as_many_requests_of_such_size_under_way(
    node: Node, in_flight: int, texts: int
) -> None:
    # With the latency all requests are under way together, also if a busy machine sends them one by one.
    node.control(texts_per_second=100, latency=0.5)
    point = measure(node, in_flight, texts)
    counted = node.stats()
    assert point.setting == (in_flight, texts)
    assert counted["max_in_flight"] == in_flight
    assert counted["texts"] == texts * counted["requests"]
    assert counted["answered"] == counted["requests"], "none was left under way"
    assert 0 < point.p50 <= point.p95
    assert 0 < point.texts_per_second < 200


@pytest.mark.parametrize(
    ("fault", "kind"), [("http503", NodeBusy), ("http500", NodeFailed), ("too_long", InputRejected)]
)
def test_a_request_that_fails_ends_the_measurement_with_its_error(
    node: Node, fault: str, kind: type[NodeError]
) -> None:
    node.control(faults=[{"name": fault, "after_requests": 3}])
    with pytest.raises(kind):
        measure(node, 4, 2)


def test_texts_are_as_long_as_asked_for_and_no_two_alike() -> None:
    texts = texts_of(200, 300)
    assert len(set(texts)) == 300
    assert all(780 <= len(text) <= 800 for text in texts)
    assert texts == texts_of(200, 300)
    assert [len(text) <= 16 for text in texts_of(4, 3)] == [True] * 3


def test_the_curve_is_a_picture_of_every_point_with_the_choice_framed() -> None:
    found = Ideal(0.02, overhead=0.02, slots=4).tune()
    drawn = str(draw_curve("gpu <box> & 'more'", found))
    root = ElementTree.fromstring(drawn)
    words = ["".join(each.itertext()) for each in root]
    assert "gpu <box> & 'more': texts/s" in words
    assert {"requests in flight", "texts in each"} <= set(words)
    kinds = [each.tag.rpartition("}")[2] for each in root]
    # Each point stands in either half, once as the number in flight and once as the size goes up.
    assert kinds.count("rect") == 2 * len(found.points)
    numbers = [[point.in_flight for point in found.points], [point.texts for point in found.points]]
    lines = sum(each.count(value) > 1 for each in numbers for value in set(each))
    assert kinds.count("path") == lines + 2
    assert str(draw_curve("one", Tuning(found.points[:1], found.points[0])))
