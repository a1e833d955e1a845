"""The key of a vector. A key holds everything that determines the vector, so equal keys mean equal vectors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

# 128 bits: among 10^9 entries the chance that any two texts share a key is 10^-21.
KEY_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class VectorSalt:
    """Everything that determines a vector, except its text.

    Attributes:
        model: Id of the model in this cache (`VectorCache.model_id`). It stands for the fingerprint, because models
            with different vectors may share a name or digest.
        prefix: Prompt put before the text.
        dimension: Floats in a vector, as the node answers (so a cut to the model's own length is no cut).
        options: Options of the request (`num_ctx`, …), stored as sorted pairs of strings.
    """

    model: str
    prefix: str
    dimension: int
    options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(sorted((str(k), str(v)) for k, v in self.options)))


def vector_keys(salt: VectorSalt, texts: Sequence[str]) -> list[bytes]:
    """Return the keys of these texts' vectors, in order: 128 bits of BLAKE2b each."""
    # A JSON list ends by itself, so no salt and text can be read as another salt with another text.
    # Earlier versions had four values, the first of them the digest. Their vectors are never found: vectors of one
    # digest may come from two versions of Ollama, and no sample shows which of them are wrong.
    values = ["fingerprint", salt.model, salt.prefix, salt.dimension, salt.options]
    salted = blake2b(json.dumps(values).encode(), digest_size=KEY_BYTES)
    keys = []
    for text in texts:
        each = salted.copy()
        each.update(text.encode("utf-8", "surrogatepass"))
        keys.append(each.digest())
    return keys


def check_keys(keys: Sequence[bytes]) -> None:
    """Check that keys come from `vector_keys`.

    Raises:
        ValueError: A key does not have 16 bytes.
    """
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(f"a key of the vector cache has {KEY_BYTES} bytes")
