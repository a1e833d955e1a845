"""Cases of which the README's test command runs some, and `.ci/run` all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def most_slow(cases: Iterable[Any], *, but: Iterable[Any]) -> list[Any]:
    """Mark all cases as slow but those that are named."""
    cases, quick = list(cases), list(but)
    assert all(case in cases for case in quick)
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in cases]
