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
    from benchmarks.refusals import cross_validated

    random = np.random.default_rng(1)
    table = cross_validated(random.normal(0, 1, (300, 5)), np.arange(300) % 2 > 0)
    assert 0.4 < float(str(table.title).rpartition(" ")[2]) < 0.6
