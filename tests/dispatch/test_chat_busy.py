"""Short chat requests keep unlike nodes busy to the last one. In virtual time."""

from __future__ import annotations

import pytest

from tests.cases import most_slow
from tests.dispatch.virtual_chat import VirtualChatNode, chat

FOUR = ((4000.0, 120.0), (2000.0, 60.0), (900.0, 30.0), (400.0, 12.0))
"""Tokens a second of prompts and of answers."""

EIGHT = (*FOUR, (3000.0, 90.0), (1500.0, 45.0), (700.0, 20.0), (300.0, 10.0))


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("order", most_slow([0, 1, 2, 3], but=[0]))
def test_short_requests_keep_unlike_nodes_busy(
    monkeypatch: pytest.MonkeyPatch, slots: int, order: int
) -> None:
    made = [VirtualChatNode(prompt, answer, slots) for prompt, answer in (*FOUR[order:], *FOUR[:order])]
    outcome = chat(monkeypatch, made, 400)
    assert not outcome.answers.failures
    assert all(answer is not None for answer in outcome.answers.answers)
    assert outcome.possible / outcome.seconds >= 0.90
    assert sum(node.texts for node in outcome.stats) == 400


@pytest.mark.parametrize("seed", [0, *(pytest.param(each, marks=pytest.mark.slow) for each in (1, 2))])
@pytest.mark.parametrize(
    ("count", "nodes", "answer", "least"),
    [
        (60, 4, (6, 10), 0.75),
        (60, 4, (60, 400), 0.75),
        pytest.param(300, 8, (60, 400), 0.85, marks=pytest.mark.slow),
        pytest.param(300, 8, (6, 10), 0.85, marks=pytest.mark.slow),
    ],
)
def test_answers_of_any_length_keep_many_slots_busy(
    monkeypatch: pytest.MonkeyPatch, count: int, nodes: int, answer: tuple[int, int], least: float, seed: int
) -> None:
    made = [VirtualChatNode(prompt, said, 4) for prompt, said in EIGHT[:nodes]]
    outcome = chat(monkeypatch, made, count, prompt=(200, 500), answer=answer, urgent=True, seed=seed)
    assert not outcome.answers.failures
    assert outcome.possible / outcome.seconds >= least


def test_long_answers_are_not_taken_for_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [VirtualChatNode(4000.0, 60.0), VirtualChatNode(2000.0, 30.0), VirtualChatNode(900.0, 20.0)]
    outcome = chat(monkeypatch, made, 60, answer=(2, 900))
    assert not outcome.answers.failures
    assert all(not node.errors for node in outcome.stats)
    assert outcome.possible / outcome.seconds >= 0.80


def test_models_that_have_to_load_first_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [VirtualChatNode(prompt, answer, load_seconds=12.0) for prompt, answer in FOUR]
    outcome = chat(monkeypatch, made, 200)
    assert not outcome.answers.failures
    assert all(not node.errors for node in outcome.stats)
    assert outcome.possible / (outcome.seconds - 12.0) >= 0.80
