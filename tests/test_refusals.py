"""The figures of refusals that `benchmarks.answers` prints are what their names say."""

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent))


def test_precision_and_recall_are_those_of_refusals() -> None:
    from benchmarks.refusals import refusals

    refused = [True, True, True, False, False, False]
    answerable = [False, False, True, False, True, True]
    assert refusals(refused, answerable) == ("0.667", "0.667", "0.667")
    assert refusals([False, False], [True, False]) == ("–", "0.000", "1.000")


def test_the_fitted_model_separates_what_one_value_separates() -> None:
    from benchmarks.refusals import area, fit, scores

    random = np.random.default_rng(0)
    answerable = np.arange(200) % 3 > 0
    values = np.c_[np.where(answerable, 0.7, 0.3) + random.normal(0, 0.1, 200), random.normal(5, 3, 200)]
    weights = fit(values, answerable)
    chances = scores(weights, values)
    assert weights[0] > 2
    assert abs(weights[1]) < 0.5
    assert area(chances, answerable) > 0.97
    assert area(-chances, answerable) < 0.03
    assert area(np.ones(200), answerable) == 0.5


def test_cross_validation_finds_nothing_in_noise() -> None:
    from benchmarks.refusals import area, left_out

    random = np.random.default_rng(1)
    answerable = np.arange(300) % 2 > 0
    chances = left_out(random.normal(0, 1, (300, 5)), answerable, [f"{at % 7}" for at in range(300)])
    assert 0.4 < area(chances, answerable) < 0.6


def test_a_document_is_left_out_as_a_whole() -> None:
    from benchmarks.refusals import groups, left_out

    # The value says something about the first document only, so nothing of it can be known from the other.
    answerable = np.array([True, False] * 20)
    values = np.where(answerable, 1.0, 0.0)[:, None] * np.r_[np.ones(20), np.zeros(20)][:, None]
    labels = [{"file": "tides.pdf"} if at % 2 else {"topic": "tides"} for at in range(20)] + [{}] * 20
    assert groups(labels)[:2] == ["tides", "tides"]
    assert len(set(groups(labels))) == 6
    chances = left_out(values, answerable, ["tides"] * 20 + ["salt"] * 20)
    assert np.allclose(chances[:20], 0.5)


def test_intervals_hold_the_figure() -> None:
    from benchmarks.refusals import intervals

    refused, answerable = np.array([True, True, False, False] * 25), np.array([False, True, True, False] * 25)
    for low, high in intervals(refused, answerable):
        assert 0.3 < low < 0.5 < high < 0.7
