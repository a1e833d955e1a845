"""Scripts that servers tokenize in unlike ways: what real servers gave, and what follows for caches and questions.

`tests/data/ollama/fingerprints.jsonl` holds the fingerprints of all-MiniLM-L6-v2 as two real versions of Ollama gave
them, with one GGUF file for each quantization.
"""

from __future__ import annotations

import asyncio
import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefect_ollama import __version__
from prefect_ollama.blocks.cache import CacheSpec, VectorCache
from prefect_ollama.blocks.embedded._app import VERSION
from prefect_ollama.blocks.embedded._model import EmbeddingModel
from prefect_ollama.blocks.nodes.canaries import SCRIPTS, full_set, scripts_in
from prefect_ollama.blocks.nodes.comparison import SAME_BUILD, SAME_VECTORS, compare
from prefect_ollama.blocks.nodes.fingerprint import Fingerprint
from prefect_ollama.blocks.nodes.spec import ClusterSpec, ModelSpec, NodeSpec
from prefect_ollama.blocks.nodes.verification import NodeVerification, VerifiedCluster, verify_cluster
from prefect_ollama.tasks.embedding import KnownVectors, VectorSources
from prefect_ollama.tasks.planning import Bundle
from prefect_ollama.tasks.searching.nodes import question_note
from tests.nodes import Node, nodes

DATA = Path(__file__).parent / "data" / "ollama" / "fingerprints.jsonl"
OLD, NEW = "0.13.5", "0.33.0-rc2"
UNLIKE = {"Hangul", "Devanagari", "Bengali", "Tamil"}


@functools.cache
def real() -> dict[tuple[str, str], Fingerprint]:
    """By version of Ollama and quantization."""
    rows = map(Fingerprint.from_json, DATA.read_bytes().splitlines())
    return {(each.version, each.quantization): each for each in rows}


@functools.cache
def embedded() -> Fingerprint:
    model, texts = EmbeddingModel(), full_set(512)
    vectors = np.stack([model.embed(model.tokenizer.encode(text)) for text in texts])
    says = {"model": "all-minilm", "digest": "a640f116", "version": "0.33.0", "quantization": "F32"}
    return Fingerprint.measured(texts, vectors, **says)


def test_ollama_passes_for_the_embedded_model_in_all_but_some_scripts() -> None:
    result = compare(real()[NEW, "F16"], embedded())
    assert result.same
    assert result.cosine > SAME_VECTORS
    assert set(result.scripts) == UNLIKE
    assert result.scripts["Hangul"] == pytest.approx(0.775, abs=0.002)
    assert result.scripts["Devanagari"] == pytest.approx(0.965, abs=0.002)


def test_the_embedded_node_is_not_called_ollama() -> None:
    found = replace(embedded(), version=VERSION)
    assert repr(found).endswith(f"embedded node {__version__})")
    cause = compare(real()[OLD, "F16"], found).cause
    assert cause.startswith(f"another server or version (Ollama {OLD}, not embedded node {__version__})")


def test_real_versions_with_one_digest_are_two_models() -> None:
    old, new = real()[OLD, "F16"], real()[NEW, "F16"]
    assert old.digest == new.digest
    result = compare(new, old)
    assert not result.same
    assert result.cosine < 0.75
    assert result.cause.startswith(f"another version of Ollama ({NEW}, not {OLD})")


@pytest.mark.parametrize("version", [OLD, NEW])
def test_q8_0_of_a_real_server_never_passes_for_f16(version: str) -> None:
    quantized = real()[version, "Q8_0"]
    for known in (real()[version, "F16"], embedded()):
        result = compare(quantized, known)
        assert not result.same
        assert result.cosine < SAME_BUILD
    assert "another quantization (Q8_0, not F16)" in compare(quantized, real()[version, "F16"]).cause


def test_a_fingerprint_without_scripts_compares_as_before() -> None:
    own = {script.text for script in SCRIPTS}
    texts = [text for text in full_set(512) if text not in own]
    before = Fingerprint.measured(texts, np.stack([embedded().canary(text) for text in texts]))
    result = compare(real()[NEW, "F16"], before)
    assert result.same
    assert not result.scripts


def test_each_script_is_found_by_its_letters() -> None:
    names = [script.name for script in SCRIPTS]
    for script in SCRIPTS:
        assert scripts_in(f"Ocean: {script.text}", names) == (script.name,)
    assert scripts_in("“Café” – Zwei Löffel. Η θάλασσα. 港の記録", names) == ()


def test_a_cache_keeps_both_apart_under_the_id_of_one_table(tmp_path: Path) -> None:
    """A table made by the embedded model goes on with Ollama: the vectors of Korean texts must not come from before."""
    ollama = real()[NEW, "F16"].known_as(embedded())
    assert ollama == embedded()
    ids = [
        cache_ids(tmp_path, ollama),
        cache_ids(tmp_path, ollama),
    ]  # the second one reads what the first one wrote
    assert ids[0] == ids[1]
    assert ids[0][0] == embedded().id
    assert ids[0][0] != ids[0][1]


def cache_ids(folder: Path, other: Fingerprint) -> tuple[str, str]:
    cache = VectorCache(CacheSpec(str(folder)))
    return cache.model_id(embedded()), cache.model_id(other)


def test_a_question_in_such_a_script_is_answered_with_a_note() -> None:
    spec = ClusterSpec((NodeSpec("it", "http://it"),), ModelSpec("all-minilm"))
    unlike: Any = compare(real()[NEW, "F16"], embedded()).scripts
    nodes = VerifiedCluster(
        spec, embedded(), {"it": NodeVerification("it", NEW, "", 0.1, other_scripts=unlike)}
    )
    assert question_note("Why is the sea calm?", nodes) == ""
    note = question_note("바다는 왜 잔잔한가?", nodes)
    assert "texts in Hangul (cosine 0.7752)" in note
    assert "mode 'text'" in note


def test_chunks_in_such_a_script_are_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    with nodes({"dimension": 32}, {"dimension": 32, "tokenizer": "llama.cpp"}) as (maker, other):
        table = verified(maker).reference
        cluster = verified(other, reference=table)
        assert cluster.reference == table
        known = KnownVectors(VectorSources(other.url, cluster, store=None, cache=None), Bundle(1, "here", ()))
        assert not known.complete([*(f"오늘 바다는 잔잔하다 {n}" for n in range(40)), "The sea is calm."])
    assert known.by_node.total() == 41
    assert known.statistics.other_tokens == 40
    (said,) = [each.message for each in caplog.records if "tokenizes" in each.message]
    assert "Node 'it' tokenizes texts in Hangul (cosine " in said
    assert "chunks in a script that their node tokenizes in another way" in known.statistics.labelled()


def verified(node: Node, **options: Any) -> VerifiedCluster:
    spec = ClusterSpec((NodeSpec("it", node.url),), ModelSpec("nomic-embed-text"))
    return asyncio.run(verify_cluster(spec, **options))
