"""Cases of which the README's test command runs some, and `.ci/run` all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest


def most_slow(cases: Iterable[Any], *, but: Iterable[Any]) -> list[Any]:
    """Mark all cases as slow but those that are named."""
    cases, quick = list(cases), list(but)
    assert all(case in cases for case in quick)
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in cases]


def mark_all_but_samples_as_slow(items: Iterable[pytest.Item]) -> None:
    """Mark cases of each test with `@pytest.mark.sampled(n)` as slow, but n that lie evenly over those not slow yet."""
    cases: defaultdict[tuple[object, object], list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("sampled") and not item.get_closest_marker("slow"):
            cases[item.parent, getattr(item, "function", None)].append(item)
    for each in cases.values():
        (count,) = each[0].get_closest_marker("sampled").args
        kept = {round(k * (len(each) - 1) / max(count - 1, 1)) for k in range(count)}
        for position, item in enumerate(each):
            if position not in kept:
                item.add_marker(pytest.mark.slow)
