"""The embedded model computed as other weights and other hardware would: quantized, and with rounded products."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.bert_reference import BertReference

Matrix = NDArray[np.float64]
BLOCK = 32


def f16(x: Matrix) -> Matrix:
    return x.astype(np.float16).astype(np.float64)


def q8_0(x: Matrix) -> Matrix:
    """GGUF's Q8_0: blocks of 32 along the last axis, each with a scale in F16 and 32 whole numbers of 8 bits."""
    blocks = x.reshape(-1, BLOCK)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / 127
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    return (np.round(blocks * inverse) * f16(scale)).reshape(x.shape)


def added_in_f16(a: Matrix, b: Matrix, step: int = 16) -> Matrix:
    """`a @ b.T` as a GPU does that multiplies, adds and answers in F16, `step` products at a time."""
    a, b = f16(a), f16(b)
    total = np.zeros((len(a), len(b)))
    for start in range(0, a.shape[1], step):
        total = f16(total + f16(a[:, start : start + step] @ b[:, start : start + step].T))
    return total


def rounded_to_f16(a: Matrix, b: Matrix) -> Matrix:
    """`a @ b.T` of F16 values, added up in full: what Ollama does on a CPU, except that the result is not rounded."""
    return f16(f16(a) @ f16(b).T)


def quantizing_inputs(a: Matrix, b: Matrix) -> Matrix:
    """`a @ b.T` as a CPU does with Q8_0 weights: it quantizes what it multiplies with, too."""
    return q8_0(a) @ b.T


class RoundedModel(BertReference):
    """The model with rounded weights and products.

    Args:
        weights: Its `model.safetensors`.
        config: Its `config.json`.
        stored: Rounds the matrices of weights.
        product: Multiplies a matrix with the transpose of another; None does it in 64 bits.
    """

    def __init__(
        self,
        weights: Path,
        config: Path,
        stored: Callable[[Matrix], Matrix] = f16,
        product: Callable[[Matrix, Matrix], Matrix] | None = None,
    ) -> None:
        super().__init__(weights, config)
        self._product = product
        for name, values in self._weights.items():
            if values.ndim == 2:
                self._weights[name] = stored(values)

    def _linear(self, x: Matrix, name: str) -> Matrix:
        if self._product is None:
            return super()._linear(x, name)
        return self._product(x, self._weights[f"{name}.weight"]) + self._weights[f"{name}.bias"]

    def fingerprint_of(self, encoded: list[list[int]]) -> Matrix:
        """Vectors of texts given as token ids."""
        return np.stack([self.embed(ids) for ids in encoded])


def least_cosine(a: Matrix, b: Matrix) -> float:
    return float(np.einsum("ij,ij->i", a, b).min())
