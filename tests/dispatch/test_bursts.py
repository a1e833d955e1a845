"""Nodes whose speed comes in bursts do what they can, whatever the dispatcher takes them for. In virtual time."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import pytest

from tests.dispatch.virtual import VirtualNode, embed, possible
from tests.nodes.bursts import Bursts

Make = Callable[[float, float], list[VirtualNode]]

LETTERS = 400
SECONDS = 40.0
"""Least time of a run, if its nodes do all they can."""

LEAST = 0.85

node = functools.partial(VirtualNode, letters=LETTERS)

CLUSTERS: dict[str, Make] = {
    "alone": lambda duty, period: [node(200.0, bursts=Bursts(duty, period))],
    "fast among steady ones": lambda duty, period: [
        node(400.0, bursts=Bursts(duty, period)),
        node(100.0),
        node(50.0),
    ],
    "slow among steady ones": lambda duty, period: [
        node(100.0),
        node(40.0, bursts=Bursts(duty, period)),
        node(10.0),
    ],
    "some texts a second": lambda duty, period: [node(8.0, bursts=Bursts(duty, period)), node(6.0)],
    "one like the steady one": lambda duty, period: [node(200.0, bursts=Bursts(duty, period)), node(200.0)],
    "several among steady ones": lambda duty, period: [
        node(400.0, bursts=Bursts(duty, period)),
        node(100.0, bursts=Bursts(duty, period, 0.4 * period)),
        node(200.0, bursts=Bursts(duty, 1.7 * period, 0.2 * period)),
        node(100.0),
        node(20.0),
    ],
    "all": lambda duty, period: [
        node(400.0, bursts=Bursts(duty, period)),
        node(100.0, bursts=Bursts(duty, period, 0.4 * period)),
        node(100.0, bursts=Bursts(duty, 1.3 * period, 0.7 * period)),
    ],
    "all, some texts a second": lambda duty, period: [
        node(12.0, bursts=Bursts(duty, period)),
        node(8.0, bursts=Bursts(duty, period, 0.5 * period)),
    ],
    "all at the same time": lambda duty, period: [
        node(8.0, bursts=Bursts(duty, period)),
        node(8.0, bursts=Bursts(duty, period)),
    ],
    "with an overhead": lambda duty, period: [
        node(40.0, 0.02, bursts=Bursts(duty, period)),
        node(40.0, 0.02),
    ],
}


def texts_of(made: Sequence[VirtualNode]) -> list[str]:
    count = int(sum(each.could(SECONDS) for each in made))
    return [f"{number} ".ljust(LETTERS, "x") for number in range(count)]


BURSTS = [(0.25, 1.0), (0.25, 3.0), (0.5, 2.0), (0.1, 2.0), (0.75, 4.0), (0.25, 0.2)]


@pytest.mark.sampled(5)
# With each kind of bursts the dispatcher finds out the slots by itself; with one kind it begins with wrong ones, too.
@pytest.mark.parametrize(
    ("duty", "period", "assumed"),
    [
        pytest.param(*bursts, assumed, marks=pytest.mark.slow if assumed or bursts != BURSTS[1] else ())
        for bursts in BURSTS
        for assumed in (None, 1, 2)
    ],
)
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_run_reaches_what_bursts_allow(
    monkeypatch: pytest.MonkeyPatch, cluster: str, duty: float, period: float, assumed: int | None
) -> None:
    made = CLUSTERS[cluster](duty, period)
    asked = texts_of(made)
    outcome = embed(monkeypatch, made, asked, assumed=assumed)
    assert not outcome.embedded.failures
    assert possible(made, len(asked)) / outcome.seconds >= LEAST
    # None of them failed, so none is said to have.
    assert not any(each.errors for each in outcome.stats)
