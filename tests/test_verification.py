"""Verification of nodes: which take part, which do not and why, and which are right if they differ."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import numpy as np
import pytest

from prefect_ollama.blocks.errors import ClusterError, NodeAnswerError, NodeBusy, NodeRefused
from prefect_ollama.blocks.nodes._canary_vectors import canary_vectors
from prefect_ollama.blocks.nodes.canaries import (
    CANARIES,
    LONG_TEXTS,
    LONG_WORD,
    QUICK,
    SCRIPT_TEXTS,
    SHORT,
    full_set,
)
from prefect_ollama.blocks.nodes.embed_response import Answer
from prefect_ollama.blocks.nodes.fingerprint import Fingerprint
from prefect_ollama.blocks.nodes.spec import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.status import NodeStatus
from prefect_ollama.blocks.nodes.verification import VerifiedCluster, verify_cluster
from prefect_ollama.tasks.dispatch import Dispatcher
from tests.dispatch.samples import spec
from tests.nodes import Node, expected_vector, nodes, text_hash
from tests.waiting import all_nodes_awaited, last_to_answer

DIMENSION = 32
HEALTHY = {"dimension": DIMENSION}

Farm = Callable[..., AbstractContextManager[list[Node]]]
"""Takes the settings of each node, as `nodes` does."""


@pytest.fixture(scope="module")
def healthy() -> Iterator[list[Node]]:
    with nodes(*[HEALTHY] * 4) as made:
        yield made


@pytest.fixture
def farm(healthy: list[Node]) -> Farm:
    """Give some of the shared nodes other settings. Most of the time of these tests would go to starting new ones."""

    @contextlib.contextmanager
    def changed(*settings: dict[str, Any]) -> Iterator[list[Node]]:
        made = healthy[: len(settings)]
        for node, each in zip(made, settings, strict=True):
            node.reset()
            node.control(**each)
        try:
            yield made
        finally:
            for node in made:
                node.heal()
                node.wait(listening=1)

    return changed


def verify(made: Sequence[Node], *, model: str = "nomic-embed-text", **changes: Any) -> VerifiedCluster:
    options = {name: changes.pop(name) for name in ("reference", "quick", "progress") if name in changes}
    each = tuple(NodeSpec(name=f"n{i}", url=node.url) for i, node in enumerate(made))
    cluster = ClusterSpec(each, ModelSpec(model), **changes)
    with all_nodes_awaited():
        return asyncio.run(verify_cluster(cluster, **options))


def test_equal_nodes_take_part(farm: Farm) -> None:
    with farm(HEALTHY, HEALTHY) as made:
        cluster = verify(made)
    assert set(cluster.verifications) == {"n0", "n1"}
    assert not cluster.left_out
    assert cluster.spec.model.num_ctx == 2048
    assert cluster.reference.dimension == DIMENSION
    assert len(cluster.reference.vectors) == len(full_set(512)) == len(CANARIES) - 1 + len(SCRIPT_TEXTS)
    for text in full_set(512):
        vector = cluster.reference.canary(text)
        np.testing.assert_allclose(vector, expected_vector(text, DIMENSION), atol=1e-5)
    assert cluster.verifications["n0"].version == "0.33.0"
    assert len(cluster.reference.digest) == 64


def test_the_majority_decides_the_context(farm: Farm) -> None:
    short = HEALTHY | {"context_length": 512}
    with farm(short, short, HEALTHY | {"context_length": 64}, HEALTHY) as made:
        cluster = verify(made)
    assert cluster.spec.model.num_ctx == 512
    assert set(cluster.verifications) == {"n0", "n1", "n3"}
    assert "reads 64 tokens" in str(cluster.left_out["n2"])


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("odd", "cause"),
    [
        ({"weights": "b"}, "another model under the name 'nomic-embed-text'"),
        ({"cosine": 0.99, "quantization": "Q4_0"}, "another quantization (Q4_0, not F16)"),
        ({"cosine": 0.9997}, "cosine 0.9997000, at least 0.9999 expected): another quantization"),
        ({"cosine": 0.99993, "version": "0.24.0"}, "cosine 0.9999300, at least 0.99995 expected"),
        ({"tokenizer": "0.24", "version": "0.24.0"}, "another version of Ollama (0.24.0, not 0.33.0)"),
        ({"tokenizer": "0.24"}, "another version of Ollama (both say 0.33.0)"),
        ({"dimension": 16}, "another model (16 dimensions, not 32)"),
        ({"digest": "f" * 64}, "another build of the model"),
        ({"capabilities": ["completion"]}, "no embedding model"),
        ({"models": ["other"]}, "does not have the model"),
        ({"faults": [{"name": "wrong_order"}]}, "when the order of the list changes"),
        ({"faults": [{"name": "down"}]}, "Check that it runs and can be reached"),
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_the_odd_one_is_left_out_and_named(farm: Farm, odd: dict[str, Any], cause: str, place: int) -> None:
    settings = [HEALTHY, HEALTHY]
    settings.insert(place, HEALTHY | odd)
    with farm(*settings) as made:
        cluster = verify(made)
        assert len(cluster.verifications) == 2
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


def test_another_digest_with_equal_vectors_is_the_users_choice(farm: Farm) -> None:
    with farm(HEALTHY, HEALTHY, HEALTHY | {"digest": "f" * 64}) as made:
        said = str(verify(made).left_out["n2"])
        assert "though its vectors agree (cosine 1.0000000" in said
        assert "the build of an embedded node always differs from Ollama's" in said
        cluster = verify(made, accept_other_digest=True)
        assert set(cluster.verifications) == {"n0", "n1", "n2"}
        assert not cluster.left_out
        # Q8_0 gave its F16 model's canaries 0.9995 to 0.9997 on real servers.
        for cosine in (0.9995, 0.9997):
            made[2].control(cosine=cosine)
            cluster = verify(made, accept_other_digest=True)
            assert "another quantization" in str(cluster.left_out["n2"])


def test_scripts_that_nodes_tokenize_in_unlike_ways_are_named(farm: Farm) -> None:
    """Such a node works, because all other texts have equal vectors; who reads its status or digest knows."""
    other = HEALTHY | {"tokenizer": "llama.cpp", "digest": "f" * 64}
    with farm(HEALTHY, HEALTHY, other) as made:
        assert "except for texts in Hangul (cosine 0." in str(verify(made).left_out["n2"])
        cluster = verify(made, accept_other_digest=True)
        assert not cluster.left_out
        assert cluster.other_scripts == {"Hangul"}
        assert {name for name, each in cluster.verifications.items() if each.other_scripts} == {"n2"}
        status = NodeStatus("n2").verified("m", cluster.verifications["n2"])
        assert status.ok
        assert status.note.startswith("Its vectors of texts in Hangul (cosine 0.")
        # The table decides which of them differs.
        table = verify(made[2:]).reference
        again = verify(made, reference=table, accept_other_digest=True)
        assert again.reference == table
        assert {name for name, each in again.verifications.items() if each.other_scripts} >= {"n0", "n1"}


def test_a_table_made_before_scripts_were_measured_stays_usable(farm: Farm) -> None:
    with farm(HEALTHY | {"tokenizer": "llama.cpp"}) as made:
        vectors = np.stack([expected_vector(text, DIMENSION) for text in CANARIES])
        cluster = verify(made, reference=Fingerprint.measured(CANARIES, vectors))
        assert not cluster.left_out
        assert not cluster.other_scripts


def test_texts_in_such_scripts_accuse_no_node(farm: Farm) -> None:
    """The nodes check each other by texts of the run, of which these have other vectors on each."""
    korean = [f"오늘 바다는 잔잔하다 {number}" for number in range(300)]
    other = HEALTHY | {"tokenizer": "llama.cpp", "texts_per_second": 150.0}
    with farm(HEALTHY | {"texts_per_second": 250.0}, other) as made:
        cluster = verify(made)
        assert set(cluster.verifications) == {"n0", "n1"}
        with Dispatcher(cluster) as dispatcher:
            embedded = dispatcher.embed(korean)
            assert not embedded.failures
            for node in dispatcher.stats():
                assert not node.errors, node
        for text, name, vector in zip(korean, embedded.nodes, embedded.vectors, strict=True):
            tokenizer = "llama.cpp" if name == "n1" else "0.33"
            expected = expected_vector(text, DIMENSION, tokenizer=tokenizer)
            np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_without_digests_vectors_decide(farm: Farm) -> None:
    odd = HEALTHY | {"digest": "", "weights": "b"}
    with farm(HEALTHY | {"digest": ""}, HEALTHY | {"digest": ""}, odd) as made:
        cluster = verify(made)
    assert set(cluster.verifications) == {"n0", "n1"}
    assert "another model" in str(cluster.left_out["n2"])
    assert cluster.reference.digest == ""


def test_a_gpu_and_a_cpu_pass_for_each_other(farm: Farm) -> None:
    with farm(HEALTHY, HEALTHY | {"cosine": 1 - 7e-6}, HEALTHY | {"cosine": 1 - 4e-5, "digest": ""}) as made:
        assert set(verify(made).verifications) == {"n0", "n1", "n2"}


def test_quantized_weights_pass_for_themselves_on_other_hardware_and_for_no_others(farm: Farm) -> None:
    """CPUs quantize what they multiply with, too: Q8_0 gives up to 0.0005 to itself on a GPU."""
    q8 = HEALTHY | {"quantization": "Q8_0", "digest": "8" * 64}
    with farm(q8, q8 | {"cosine": 0.9995}) as made:
        assert set(verify(made).verifications) == {"n0", "n1"}
        made[1].control(version="0.31.0")
        said = str(verify(made).left_out["n1"])
        assert "another version of the server (Ollama 0.31.0, not Ollama 0.33.0), or other hardware" in said
        made[1].control(version="0.33.0", quantization="F16")
        assert "another quantization (F16, not Q8_0)" in str(verify(made).left_out["n1"])
        made[1].control(quantization="Q8_0", digest="f" * 64)
        said = str(verify(made, accept_other_digest=True).left_out["n1"])
        assert "other weights, or other hardware" in said


def test_a_table_decides_before_the_majority(farm: Farm) -> None:
    with farm(HEALTHY, HEALTHY, HEALTHY | {"weights": "b"}) as made:
        vectors = np.stack([expected_vector(text, DIMENSION, "b") for text in CANARIES])
        table = Fingerprint.measured(CANARIES, vectors)
        cluster = verify(made, reference=table)
        assert set(cluster.verifications) == {"n2"}
        assert cluster.reference == table
        assert "than the table's" in str(cluster.left_out["n0"])
        # Where no node gives its vectors, they are what they are, and the caller sees it.
        cluster = verify(made[:2], reference=table)
        assert set(cluster.verifications) == {"n0", "n1"}
        assert cluster.reference != table


def test_the_quick_check_is_for_nodes_that_say_what_made_the_table(farm: Farm) -> None:
    long = {text_hash(text) for text in (LONG_WORD, *(text for _, text in LONG_TEXTS))}
    with farm(HEALTHY) as made:
        table = verify(made).reference
        for changes, quick in ({}, True), ({"version": "0.34.0"}, False), ({"digest": "f" * 64}, False):
            made[0].control(**changes)
            made[0].reset()
            assert verify(made, reference=table, quick=True).reference == table
            assert set(made[0].stats()["served"]).isdisjoint(long) == quick
        made[0].control(digest=None, version="0.33.0", tokenizer="0.24")
        assert verify(made, reference=table, quick=True).reference != table


@pytest.mark.parametrize("context", [64, 200, 256, 300, 512, 2048, None])
def test_canaries_fit_the_context(farm: Farm, context: int | None) -> None:
    """A node with a short context proves itself with those that it takes."""
    with farm(HEALTHY | {"context_length": context or 2048}) as made:
        cluster = verify(made)
        texts = full_set(cluster.spec.model.num_ctx)
        assert [cluster.reference.canary(text).shape for text in texts] == [(DIMENSION,)] * len(texts)
        assert texts[: len(SHORT)] == SHORT
    # One that refuses the long ones all the same has the short ones.
    with farm(HEALTHY | {"characters_a_token": 1, "context_length": 256}) as made:
        assert len(verify(made).reference.vectors) == len(QUICK) + len(SCRIPT_TEXTS)


def test_a_node_whose_scripts_have_vectors_of_another_length_is_not_believed() -> None:
    class Client:
        node = NodeSpec("n0", "http://127.0.0.1:1")

        async def embed(
            self, texts: Sequence[str], *, timeout: float, dimension: int | None = None
        ) -> Answer:
            length = 16 if SCRIPT_TEXTS[0] in texts else DIMENSION
            return Answer(np.stack([expected_vector(text, length) for text in texts]), 0)

    with pytest.raises(NodeAnswerError, match=f"vectors of {DIMENSION} and of 16 dimensions"):
        asyncio.run(canary_vectors(cast("Any", Client()), full_set(512), timeout=60))


def test_a_node_with_two_slots_measures_scripts_beside_the_other_canaries() -> None:
    with nodes(HEALTHY | {"slots": 2, "request_overhead": 0.5}) as made:
        verify(made)
        first, second, last = sorted((begin, end) for _, begin, end, _ in made[0].stats()["busy"])
    assert first[1] > second[0]
    assert last[0] >= max(first[1], second[1])


@pytest.mark.parametrize(
    "name",
    [
        "library/nomic-embed-text",
        "registry.ollama.ai/library/nomic-embed-text:latest",
        "NOMIC-Embed-Text:LATEST",
    ],
)
def test_names_are_compared_as_ollama_does(farm: Farm, name: str) -> None:
    with farm(HEALTHY) as made:
        assert verify(made, model=name).reference == verify(made).reference


def test_a_single_node_in_the_wrong_order_is_not_believed(farm: Farm) -> None:
    odd = HEALTHY | {"faults": [{"name": "wrong_order"}]}
    with farm(odd) as made, pytest.raises(ClusterError, match="when the order of the list changes"):
        verify(made)


def test_no_node_at_all_names_each_cause(farm: Farm) -> None:
    down, refusing, hanging = (
        {"faults": [{"name": name, "paths": ["*"]}]} for name in ("down", "html", "close")
    )
    each = [HEALTHY | refusing, HEALTHY | down, HEALTHY | hanging]
    with (
        farm(*each) as made,
        last_to_answer(made[0], after=made[2], calls=1),
        pytest.raises(ClusterError) as caught,
    ):
        verify(made)
    said = str(caught.value)
    assert list(caught.value.causes) == ["n0", "n1", "n2"]
    for name, cause in (("n0", "not Ollama's"), ("n1", "cannot be connected"), ("n2", "broke off")):
        line = next(line for line in said.splitlines() if f"Node '{name}'" in line)
        assert cause in line


@pytest.mark.parametrize("path", ["/api/ps", ""])
def test_a_node_that_waits_for_another_program_says_what_to_do(farm: Farm, path: str) -> None:
    with farm(HEALTHY) as [node]:
        verify([node])  # loads the model
        node.control(faults=[{"name": "hang"}] + ([{"name": "http500", "paths": [path]}] if path else []))
        each = ClusterSpec((NodeSpec("n0", node.url, load_timeout=0.3),), ModelSpec("nomic-embed-text"))
        with pytest.raises(ClusterError, match=r"did not give a whole answer within 0\.3 s") as caught:
            asyncio.run(verify_cluster(each))
    # Where the node does not say what it has in memory, nothing is guessed.
    assert ("Run 'ollama stop nomic-embed-text' there" in str(caught.value)) == (not path)
    assert ("though it has the model in memory" in str(caught.value)) == (not path)


def test_busy_nodes_are_asked_again_if_no_other_one_works(farm: Farm) -> None:
    with farm(HEALTHY | {"faults": [{"name": "http503", "times": 2}]}) as made:
        assert list(verify(made).verifications) == ["n0"]
    with farm(HEALTHY | {"faults": [{"name": "http503", "retry_after": "60"}]}) as made:
        with pytest.raises(ClusterError, match="is busy"):
            verify(made)
        assert made[0].stats()["faults"]["http503"] <= 2, "it named a time, and was asked again before"


def test_a_node_behind_a_proxy_that_lets_one_request_through_is_verified() -> None:
    class Proxied:
        node = NodeSpec("n0", "http://127.0.0.1:1")
        busy, refused = False, 0

        async def embed(
            self, texts: Sequence[str], *, timeout: float, dimension: int | None = None
        ) -> Answer:
            if self.busy:
                self.refused += 1
                raise NodeBusy("is busy (429).", node="n0", status=429)
            self.busy = True
            await asyncio.sleep(0)
            self.busy = False
            return Answer(np.stack([expected_vector(text, DIMENSION) for text in texts]), 0)

    client = Proxied()
    texts, vectors, _ = asyncio.run(canary_vectors(cast("Any", client), full_set(512), timeout=60))
    assert client.refused == 1
    assert len(texts) == len(vectors) == len(full_set(512))


def test_a_missing_model_is_pulled_with_progress_if_allowed(farm: Farm) -> None:
    with farm(HEALTHY, HEALTHY | {"models": []}) as made:
        assert isinstance(verify(made).left_out["n1"], NodeRefused)
        told: list[tuple[str, str, int, int]] = []
        cluster = verify(made, pull=True, progress=lambda *event: told.append(event))
        assert set(cluster.verifications) == {"n0", "n1"}
    assert {name for name, *_ in told} == {"n1"}
    assert told[-1][1] == "success"
    assert any(0 < done <= total for _, _, done, total in told)


def test_a_pull_that_fails_in_mid_stream_is_named(farm: Farm) -> None:
    with farm(HEALTHY, HEALTHY | {"models": [], "pull_error": "no space left on device"}) as made:
        cluster = verify(made, pull=True)
        assert "no space left on device" in str(cluster.left_out["n1"])


@pytest.mark.slow
def test_a_node_that_loads_for_long_joins_while_the_work_runs() -> None:
    # Longer than a slow node is waited for at most, also where this process seldom gets a core.
    with nodes(
        HEALTHY | {"texts_per_second": 100}, HEALTHY | {"load_seconds": 60.0, "texts_per_second": 100}
    ) as made:
        cluster = asyncio.run(verify_cluster(spec(made)))
        assert "was not ready" in str(cluster.left_out["n1"])
        made[1].control(speed=20.0)
        with Dispatcher(cluster) as dispatcher:
            while "n1" not in dispatcher.embed([f"text {i}" for i in range(100)]).nodes:
                pass
