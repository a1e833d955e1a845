"""The embedding function of simulated nodes: the right vector of every text can be computed anywhere.

Deterministic over processes, platforms and versions: the bits come from SHAKE-128 of weights and text. Unlike
texts have unlike vectors however similar they read, so one vector in the wrong place is always seen.
"""

from __future__ import annotations

import hashlib
import math
import re

import numpy as np
import orjson
from numpy.typing import NDArray

CHARACTERS_A_TOKEN = 4
HANGUL = re.compile("[\uac00-\ud7a3]")


def tokens(text: str, characters: float = CHARACTERS_A_TOKEN) -> int:
    """Tokens of a text as simulated nodes count them: so many characters each, at least one."""
    return max(1, math.ceil(len(text) / characters))


def text_hash(text: str) -> str:
    """What `stats()["served"]` calls a text: 16 hex digits."""
    return text_digest(text).hex()


def text_digest(text: str) -> bytes:
    """Eight bytes that stand for a text."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def expected_vector(
    text: str,
    dimension: int = 768,
    weights: str = "a",
    *,
    pool: int = 0,
    cosine: float = 1.0,
    tokenizer: str = "0.33",
) -> NDArray[np.float32]:
    """The one right vector of a text: float32, shape (dimension,), norm 1.

    The keyword arguments are those of `Settings`.
    """
    if tokenizer == "0.24" and not text.isascii():
        weights = f"{weights}\0{tokenizer}"
    if tokenizer == "llama.cpp" and HANGUL.search(text):
        weights = f"{weights}\0{tokenizer}"
    if pool:
        return _pooled(int.from_bytes(text_digest(text)) % pool, dimension, weights)
    vector = _direction(f"{weights}\0{text}", dimension)
    if cosine < 1:
        other = _direction(f"{weights}\0noise\0{text}", dimension)
        other = other - (other @ vector) * vector
        vector = cosine * vector + math.sqrt(1 - cosine * cosine) * other / np.linalg.norm(other)
    return vector.astype(np.float32)


def cut(vector: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """What Ollama does for `dimensions`: the first ones, normalised again."""
    head = vector[:dimensions].astype(np.float64)
    return (head / np.linalg.norm(head)).astype(np.float32)


def _pooled(index: int, dimension: int, weights: str) -> NDArray[np.float32]:
    return _direction(f"{weights}\0pool\0{index}", dimension).astype(np.float32)


def _direction(name: str, dimension: int) -> NDArray[np.float64]:
    bits = hashlib.shake_128(name.encode()).digest(4 * dimension)
    values = np.frombuffer(bits, dtype="<u4").astype(np.float64) / 2**31 - 1
    unit: NDArray[np.float64] = values / np.linalg.norm(values)
    return unit


class Serialised:
    """Vectors as JSON bytes, kept, so that a text that comes again costs a look-up."""

    LIMIT = 8192

    def __init__(self, dimension: int, pool: int, cosine: float) -> None:
        """Serialise vectors of one shape; `weights` may differ from call to call."""
        self.dimension, self.pool, self.cosine = dimension, pool, cosine
        self._kept: dict[tuple[object, ...], bytes] = {}

    def of(
        self,
        texts: list[str],
        digests: list[bytes],
        weights: str,
        dimensions: int | None,
        tokenizer: str = "0.33",
    ) -> list[bytes]:
        """One JSON array a text, in order."""
        kept, pool = self._kept, self.pool
        vectors = []
        for text, digest in zip(texts, digests, strict=True):
            key = (int.from_bytes(digest) % pool if pool else digest, weights, tokenizer, dimensions)
            vector = kept.get(key)
            if vector is None:
                if len(kept) >= self.LIMIT:
                    kept.clear()
                vector = kept[key] = self._serialise(text, weights, dimensions, tokenizer)
            vectors.append(vector)
        return vectors

    def _serialise(self, text: str, weights: str, dimensions: int | None, tokenizer: str) -> bytes:
        vector = expected_vector(
            text, self.dimension, weights, pool=self.pool, cosine=self.cosine, tokenizer=tokenizer
        )
        if dimensions is not None and dimensions < self.dimension:
            vector = cut(vector, dimensions)
        return orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)
