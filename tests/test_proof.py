"""Nodes prove themselves: who takes part, who does not and why, and who is believed when they differ."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from prefect_ollama.blocks.errors import ClusterError, NodeRefused
from prefect_ollama.blocks.wire.proof import CANARIES, ProvenCluster, Reference, prove_cluster
from prefect_ollama.blocks.wire.spec import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.tasks.dispatch import Dispatcher
from tests.nodes import Node, expected_vector, nodes

DIMENSION = 32
HEALTHY = {"dimension": DIMENSION}


def prove(made: Sequence[Node], *, model: str = "nomic-embed-text", **changes: Any) -> ProvenCluster:
    reference = changes.pop("reference", None)
    progress = changes.pop("progress", None)
    each = tuple(NodeSpec(name=f"n{i}", url=node.url) for i, node in enumerate(made))
    spec = ClusterSpec(each, ModelSpec(model), **changes)
    return asyncio.run(prove_cluster(spec, reference=reference, progress=progress))


def test_equal_nodes_take_part() -> None:
    with nodes(HEALTHY, HEALTHY) as made:
        cluster = prove(made)
    assert set(cluster.proofs) == {"n0", "n1"}
    assert not cluster.left_out
    assert cluster.spec.model.num_ctx == 2048
    assert cluster.reference.dimension == DIMENSION
    for text, vector in zip(CANARIES, cluster.reference.canaries, strict=True):
        np.testing.assert_allclose(vector, expected_vector(text, DIMENSION), atol=1e-5)
    assert cluster.proofs["n0"].version == "0.33.0"
    assert len(cluster.reference.digest) == 64


def test_the_majority_decides_the_context() -> None:
    short = HEALTHY | {"context_length": 512}
    with nodes(short, short, HEALTHY | {"context_length": 64}, HEALTHY) as made:
        cluster = prove(made)
    assert cluster.spec.model.num_ctx == 512
    assert set(cluster.proofs) == {"n0", "n1", "n3"}
    assert "reads 64 tokens" in str(cluster.left_out["n2"])


@pytest.mark.parametrize(
    ("odd", "cause"),
    [
        ({"weights": "b"}, "other weights under the same name"),
        ({"cosine": 0.99}, "other weights under the same name"),
        ({"dimension": 16}, "16 dimensions, not 32"),
        ({"digest": "f" * 64}, "another build of the model"),
        ({"capabilities": ["completion"]}, "no embedding model"),
        ({"models": ["other"]}, "does not have the model"),
        ({"faults": [{"name": "wrong_order"}]}, "when the order of the list changes"),
        ({"faults": [{"name": "down"}]}, "Check that it runs and can be reached"),
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_the_odd_one_is_left_out_and_named(odd: dict[str, Any], cause: str, place: int) -> None:
    settings = [HEALTHY, HEALTHY]
    settings.insert(place, HEALTHY | odd)
    with nodes(*settings) as made:
        cluster = prove(made)
        assert len(cluster.proofs) == 2
        assert set(cluster.left_out) == {f"n{place}"}
        error = cluster.left_out[f"n{place}"]
        assert cause in str(error)
        assert f"n{place}" in str(error)
        # What does not match at the start does not match later either.
        with Dispatcher(cluster) as dispatcher:
            texts = [f"text {i}" for i in range(60)]
            embedded = dispatcher.embed(texts)
            assert f"n{place}" not in embedded.nodes
            for text, vector in zip(texts, embedded.vectors, strict=True):
                np.testing.assert_allclose(vector, expected_vector(text, DIMENSION), atol=1e-5)


def test_another_digest_with_equal_vectors_is_the_users_choice() -> None:
    with nodes(HEALTHY, HEALTHY, HEALTHY | {"digest": "f" * 64}) as made:
        cluster = prove(made, accept_other_digest=True)
        assert set(cluster.proofs) == {"n0", "n1", "n2"}
        assert not cluster.left_out


def test_a_table_decides_before_the_majority() -> None:
    with nodes(HEALTHY, HEALTHY, HEALTHY | {"weights": "b"}) as made:
        vectors = np.stack([expected_vector(text, DIMENSION, "b") for text in CANARIES])
        cluster = prove(made, reference=Reference("", vectors))
        assert set(cluster.proofs) == {"n2"}
        with pytest.raises(ClusterError, match="other weights") as caught:
            prove(made[:2], reference=Reference("", vectors))
        assert "n0" in str(caught.value)
        assert "n1" in str(caught.value)


def test_a_single_node_in_the_wrong_order_is_not_believed() -> None:
    odd = HEALTHY | {"faults": [{"name": "wrong_order"}]}
    with nodes(odd) as made, pytest.raises(ClusterError, match="when the order of the list changes"):
        prove(made)


def test_no_node_at_all_names_each_cause() -> None:
    down, refusing, hanging = (
        {"faults": [{"name": name, "paths": ["*"]}]} for name in ("down", "html", "close")
    )
    each = [HEALTHY | down, HEALTHY | refusing, HEALTHY | hanging]
    with nodes(*each) as made, pytest.raises(ClusterError) as caught:
        prove(made)
    said = str(caught.value)
    for name, cause in (("n0", "cannot be connected"), ("n1", "not Ollama's"), ("n2", "broke off")):
        line = next(line for line in said.splitlines() if f"Node '{name}'" in line)
        assert cause in line


def test_a_missing_model_is_pulled_with_progress_if_allowed() -> None:
    with nodes(HEALTHY, HEALTHY | {"models": []}) as made:
        assert isinstance(prove(made).left_out["n1"], NodeRefused)
        told: list[tuple[str, str, int, int]] = []
        cluster = prove(made, pull=True, progress=lambda *event: told.append(event))
        assert set(cluster.proofs) == {"n0", "n1"}
    assert {name for name, *_ in told} == {"n1"}
    assert told[-1][1] == "success"
    assert any(0 < done <= total for _, _, done, total in told)


def test_a_pull_that_fails_in_mid_stream_is_named() -> None:
    with nodes(HEALTHY, HEALTHY | {"models": [], "pull_error": "no space left on device"}) as made:
        cluster = prove(made, pull=True)
        assert "no space left on device" in str(cluster.left_out["n1"])


@pytest.mark.slow
def test_a_node_that_loads_for_long_joins_while_the_work_runs() -> None:
    with nodes(
        HEALTHY | {"texts_per_second": 100}, HEALTHY | {"load_seconds": 6.5, "texts_per_second": 100}
    ) as made:
        cluster = prove(made)
        assert "was not ready" in str(cluster.left_out["n1"])
        with Dispatcher(cluster) as dispatcher:
            for _ in range(12):
                if "n1" in dispatcher.embed([f"text {i}" for i in range(100)]).nodes:
                    break
            else:
                pytest.fail("it never joined")
