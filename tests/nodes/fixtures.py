"""Fixtures over the simulated nodes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.nodes import Node, nodes


@pytest.fixture
def start_nodes() -> Iterator[Callable[..., list[Node]]]:
    """Start simulated nodes, one for each dict of settings; they end with the test."""
    with contextlib.ExitStack() as stack:

        def start(*settings: dict[str, Any]) -> list[Node]:
            return stack.enter_context(nodes(*settings))

        yield start
