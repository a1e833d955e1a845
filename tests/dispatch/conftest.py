"""Three nodes that all tests of a module share, and each finds healthy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dispatch.samples import DIMENSION, RATE
from tests.nodes import Node, nodes


@pytest.fixture(scope="module")
def three() -> Iterator[list[Node]]:
    with nodes(*[{"dimension": DIMENSION, "texts_per_second": RATE}] * 3) as made:
        yield made


@pytest.fixture
def trio(three: list[Node]) -> Iterator[list[Node]]:
    """Three equal healthy nodes, n0 to n2, with nothing counted; what a test changes is undone."""
    yield three
    for node in three:
        if not node.alive:
            node.restart()
        node.heal()
    for node in three:
        node.wait(listening=1)
        node.reset()
