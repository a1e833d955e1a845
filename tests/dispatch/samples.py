"""Texts, clusters of simulated nodes, and the check that every text has its own vector or its own error."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np

from prefect_ollama.blocks.nodes.spec import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.verification import VerifiedCluster, verify_cluster
from prefect_ollama.tasks.dispatch import Dispatcher, Embedded, NodeStats
from prefect_ollama.tasks.dispatch._job import Job
from tests.nodes import Node, expected_vector
from tests.waiting import all_nodes_awaited

DIMENSION = 32
RATE = 400.0

serial = itertools.count()


def some(count: int, length: int = 40) -> list[str]:
    """Texts that no other test has."""
    run = next(serial)
    return [f"text {i} of test {run} ".ljust(length, "x") for i in range(count)]


def spec(
    made: Sequence[Node],
    *,
    give_up_after: float = 20.0,
    document_prefix: str = "",
    query_prefix: str = "",
    **changes: Any,
) -> ClusterSpec:
    """A cluster of these nodes, n0 and on; `changes` are each node's."""
    each = tuple(NodeSpec(name=f"n{i}", url=node.url, **changes) for i, node in enumerate(made))
    model = ModelSpec("nomic-embed-text", document_prefix=document_prefix, query_prefix=query_prefix)
    return ClusterSpec(each, model, give_up_after=give_up_after)


def proven(made: Sequence[Node], **changes: Any) -> VerifiedCluster:
    """The same, proven. A node that hangs is waited for, too."""
    with all_nodes_awaited():
        return asyncio.run(verify_cluster(spec(made, **changes)))


def check(texts: Sequence[str], embedded: Embedded, *, failed: Sequence[int] = ()) -> None:
    """Each text has its right vector, but those that must have an error of their own."""
    assert sorted(embedded.failures) == sorted(failed), embedded.failures
    for i, text in enumerate(texts):
        if i in embedded.failures:
            assert embedded.failures[i].text == text
            assert np.isnan(embedded.vectors[i]).all()
            assert embedded.nodes[i] == ""
        else:
            np.testing.assert_allclose(embedded.vectors[i], expected_vector(text, DIMENSION), atol=1e-5)
            assert embedded.nodes[i] != ""


def of(dispatcher: Dispatcher, name: str) -> NodeStats:
    """A node's figures."""
    return next(node for node in dispatcher.stats() if node.name == name)


@contextlib.contextmanager
def first_vector() -> Iterator[threading.Event]:
    """An event that is set when a text has its confirmed vector."""
    there, settle = threading.Event(), Job.settle

    def settled(job: Job[Any], *rest: Any) -> None:
        settle(job, *rest)
        there.set()

    with mock.patch.object(Job, "settle", settled):
        yield there
