"""Kills in mid-run: whatever was killed, and when, the same call again brings the table to where it should be."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.crash import KINDS, SCENARIOS, World, chain, trial, world

FIXED = 20261123


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A Prefect server of its own, nodes, documents."""
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.mark.slow  # four runs with workers of their own, two starts of a Prefect server
@pytest.mark.timeout(900)
def test_a_worker_the_server_the_flow_and_then_all_are_killed(made: World) -> None:
    done = chain(made, random.SystemRandom().randrange(2**31))
    print(done)
    assert done.faults == []


@pytest.mark.kills
@pytest.mark.slow  # two runs with workers of their own for each kill; `benchmarks/crash.py` has hundreds
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fixed", [True, False], ids=["fixed seed", "random seed"])
def test_a_kill_costs_what_was_under_way_and_nothing_else(made: World, kind: str, fixed: bool) -> None:
    seed = FIXED if fixed else random.SystemRandom().randrange(2**31)
    scenarios = [*SCENARIOS]
    for attempt in range(4):  # one that comes too late is no kill
        done = trial(made, seed + attempt, kinds=[kind], scenario=scenarios[(seed + KINDS.index(kind)) % 3])
        print(done)
        assert done.faults == []
        if done.kinds:
            return
    pytest.fail("no kill hit a run that was under way")
