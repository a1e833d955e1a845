"""Fingerprints: which models pass for each other, what a difference is put down to, and how they are kept."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from prefect_ollama.blocks.embedded._model import EmbeddingModel
from prefect_ollama.blocks.embedded._weights import find_model_files
from prefect_ollama.blocks.nodes.canaries import CANARIES, LONG_WORD, QUICK, SHORT
from prefect_ollama.blocks.nodes.comparison import (
    SAME_BUILD,
    SAME_QUANTIZED,
    SAME_VECTORS,
    compare,
    least_cosine,
)
from prefect_ollama.blocks.nodes.fingerprint import Fingerprint
from prefect_ollama.blocks.nodes.spec import full_name
from tests.model_rounding import (
    Matrix,
    RoundedModel,
    added_in_f16,
    f16,
    q8_0,
    quantizing_inputs,
    rounded_to_f16,
)
from tests.nodes import expected_vector
from tests.wordpiece import by_llama_cpp, by_ollama_0_24, pieces_of

BUILD = {"model": "all-minilm", "digest": "6cf97aa9", "version": "0.33.0", "quantization": "F16"}


@functools.cache
def embedded() -> EmbeddingModel:
    return EmbeddingModel()


@functools.cache
def pieces() -> dict[bytes, int]:
    return pieces_of(embedded().tokenizer._tokenizer.get_vocab())


def measured(encode: Callable[[str], list[int]] | None = None, **says: str) -> Fingerprint:
    """The fingerprint of the embedded model's weights, with a tokenizer."""
    model = embedded()
    encode = encode or model.tokenizer.encode
    vectors = np.stack([model.embed(encode(text)) for text in CANARIES])
    return Fingerprint.measured(CANARIES, vectors, **{**BUILD, **says})


def rounded(stored: Callable[[Matrix], Matrix], product: Callable[[Matrix, Matrix], Matrix] | None) -> Matrix:
    files = find_model_files()
    model = RoundedModel(files.weights, files.config, stored, product)
    return model.fingerprint_of([embedded().tokenizer.encode(text) for text in QUICK])


def worst(a: Matrix, b: Matrix, count: int = len(QUICK)) -> float:
    return float(np.einsum("ij,ij->i", a, b)[:count].min())


@pytest.mark.slow
def test_hardware_passes_and_quantizations_do_not() -> None:
    """The bounds lie between both, with room on either side: measured on the weights of all-MiniLM-L6-v2."""
    cpu = rounded(f16, None)
    same = {
        "F32": rounded(lambda x: x, None),
        "a GPU that answers in F16": rounded(f16, rounded_to_f16),
        "a GPU that adds in F16": rounded(f16, added_in_f16),
    }
    for name, vectors in same.items():
        assert 1 - worst(vectors, cpu) < (1 - SAME_VECTORS) / 10, name
    q8_gpu, q8_cpu = rounded(q8_0, None), rounded(q8_0, quantizing_inputs)
    for quantized in (q8_gpu, q8_cpu):
        assert 1 - worst(quantized, cpu) > 2 * (1 - SAME_BUILD)
        # Also by the texts alone that check a node which comes back, and by the one that travels with requests.
        assert 1 - worst(quantized, cpu, len(SHORT)) > 1.5 * (1 - SAME_BUILD)
        assert 1 - worst(quantized, cpu, 1) > 1 - SAME_BUILD
    # One file of quantized weights on two kinds of hardware.
    assert SAME_QUANTIZED < worst(q8_gpu, q8_cpu) < SAME_BUILD


def test_canaries_show_the_other_generation_of_ollama() -> None:
    old = measured(functools.partial(by_ollama_0_24, pieces()), version="0.24.0")
    new = measured(functools.partial(by_llama_cpp, pieces()))
    result = compare(new, old)
    assert result.cosine < 0.75
    assert result.cause.startswith("another version of Ollama (0.33.0, not 0.24.0)")
    quick = replace(new, vectors={name: new.vectors[name] for name in list(new.vectors)[: len(QUICK)]})
    assert compare(quick, old).cause == result.cause
    for text in SHORT[:3]:
        one = Fingerprint.measured([text], np.stack([new.canary(text)]), **BUILD)
        assert not compare(one, old).same


def test_the_embedded_model_passes_for_ollama() -> None:
    """Its tokenizer cuts all canaries as llama.cpp does, the long word too."""
    for text in CANARIES:
        assert embedded().tokenizer.encode(text) == by_llama_cpp(pieces(), text), text
    assert len(LONG_WORD) == 300
    assert len(embedded().tokenizer.encode(LONG_WORD)) > 100


def test_the_tokenizers_of_the_tests_are_those_of_real_servers() -> None:
    """Cosines of all-minilm F16 on real servers, Ollama 0.24.0 against 0.33.0-rc2."""
    for text, cosine in (
        ("café", 0.22),
        ("“quoted”", 0.04),
        ("It’s here", 0.44),
        ("a—b", 0.42),
        ("Plain ASCII", 1.0),
    ):
        old, new = (embedded().embed(encode(pieces(), text)) for encode in (by_ollama_0_24, by_llama_cpp))
        assert float(old @ new) == pytest.approx(cosine, abs=0.006)


def simulated(cosine: float = 1.0, weights: str = "a", **says: str) -> Fingerprint:
    vectors = np.stack([expected_vector(text, 64, weights, cosine=cosine) for text in CANARIES])
    return Fingerprint.measured(CANARIES, vectors, **{**BUILD, **says})


@pytest.mark.parametrize(
    ("found", "least", "cause"),
    [
        (simulated(1 - 9e-5), SAME_BUILD, ""),
        (simulated(1 - 1.1e-4), SAME_BUILD, "another quantization"),
        (simulated(1 - 4e-5, digest=""), SAME_VECTORS, ""),
        (simulated(1 - 6e-5, digest=""), SAME_VECTORS, "another quantization"),
        (simulated(1 - 6e-5, version="0.34.0"), SAME_VECTORS, "another quantization"),
        (simulated(1 - 6e-5, digest="other"), SAME_VECTORS, "another quantization"),
        (simulated(0.9997, quantization="Q8_0"), SAME_BUILD, "another quantization (Q8_0, not F16)"),
        (simulated(weights="b"), SAME_BUILD, "another model under the name 'all-minilm'"),
        (simulated(weights="b", model="library/ALL-MINILM"), SAME_BUILD, "another model under the name"),
        (simulated(weights="b", model="bge-m3"), SAME_BUILD, "another model (bge-m3, not all-minilm)"),
    ],
)
def test_the_cause_of_a_difference_is_named(found: Fingerprint, least: float, cause: str) -> None:
    result = compare(found, simulated())
    assert result.least == least
    assert result.cause.startswith(cause)
    assert result.same == (not cause)


def test_quantized_weights_of_one_build_may_differ_more() -> None:
    q8 = simulated(quantization="Q8_0")
    assert least_cosine(q8, q8) == SAME_QUANTIZED
    for other in (replace(q8, quantization="F16"), replace(q8, digest=""), replace(q8, version="")):
        assert least_cosine(q8, other) > SAME_QUANTIZED
    assert least_cosine(simulated(digest=""), simulated(digest="")) == SAME_VECTORS


def test_a_fingerprint_is_kept_and_stays_what_it_is() -> None:
    found = measured()
    kept = Fingerprint.from_json(found.to_json())
    assert kept == found
    assert kept.to_json() == found.to_json()
    assert compare(kept, found).cosine > 1 - 1e-6
    assert (kept.model, kept.digest, kept.version, kept.quantization) == tuple(BUILD.values())
    assert str(kept) == f"{found.id} (all-minilm, F16, digest 6cf97aa9, Ollama 0.33.0)"
    for damaged in (
        "",
        "{}",
        "[]",
        "1",
        found.to_json()[:-20],
        found.to_json().replace('"vectors"', '"other"'),
    ):
        with pytest.raises(ValueError):  # noqa: PT011  # of JSON, of the vectors, or of what is missing
            Fingerprint.from_json(damaged)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("all-minilm", "all-minilm:latest"),
        ("library/all-minilm", "ALL-MINILM:LATEST"),
        ("registry.ollama.ai/library/all-minilm:latest", "all-minilm"),
        ("https://registry.ollama.ai/library/all-minilm", "all-minilm"),
        ("registry.ollama.ai/someone/all-minilm", "someone/All-MiniLM"),
        ("hf.co/Someone/Repository:Q4_K_M", "HF.co/someone/repository:q4_k_m"),
    ],
)
def test_names_of_one_model_are_equal(name: str, same: str) -> None:
    assert full_name(name) == full_name(same)


def test_names_of_two_models_are_not() -> None:
    names = [
        "all-minilm",
        "all-minilm:33m",
        "someone/all-minilm",
        "host:5000/library/all-minilm",
        "hf.co/library/x",
    ]
    assert len({full_name(name) for name in names}) == len(names)
