"""The key and the record of a vector.

A key holds everything that determines the vector, so equal keys mean equal vectors. A record is the bytes that are
stored, with a checksum over key and floats, so that a sound record under another key counts as damaged:

    4 d bytes    vector, float32, little-endian
    4 bytes      CRC-32 of the key and the vector, little-endian
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.nodes import NORM_TOLERANCE, Vectors

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


# Bytes of a CRC-32. The checksum finds accidental damage; `_folder` keeps other users from forging vectors.
CHECK_BYTES = 4


def normal(vectors: Vectors) -> NDArray[np.bool_]:
    """Return which rows are finite and of norm 1; no other row is used, from a file or from a node."""
    with np.errstate(all="ignore"):
        squared = np.einsum("ij,ij->i", vectors, vectors)
        return np.asarray(np.abs(squared - 1.0) <= 2 * NORM_TOLERANCE)


def pack(keys: Sequence[bytes], vectors: Vectors) -> list[bytes]:
    """Return the record of each vector, float32 of shape (keys, dimension)."""
    raw, width = memoryview(np.ascontiguousarray(vectors, "<f4").tobytes()), 4 * vectors.shape[1]
    records = []
    for number, key in enumerate(keys):
        vector = raw[number * width : (number + 1) * width]
        records.append(b"".join((vector, crc32(vector, crc32(key)).to_bytes(CHECK_BYTES, "little"))))
    return records


def unpack(
    keys: Sequence[bytes], records: Sequence[object], dimension: int
) -> tuple[NDArray[np.bool_], Vectors]:
    """Return which records are undamaged under these keys, and their vectors.

    Args:
        records: The values that were read. A value that is not a record of this dimension counts as damaged.

    Returns:
        bool of shape (records,), and float32 of shape (sound records, dimension).
    """
    width = 4 * dimension
    sound = np.zeros(len(keys), np.bool_)
    whole: list[bytes] = []
    for number, (key, record) in enumerate(zip(keys, records, strict=True)):
        if not isinstance(record, bytes) or len(record) != width + CHECK_BYTES:
            continue
        vector = memoryview(record)[:width]
        if crc32(vector, crc32(key)) == int.from_bytes(record[width:], "little"):
            sound[number] = True
            whole.append(record)
    stored = np.frombuffer(b"".join(whole), np.uint8).reshape(len(whole), width + CHECK_BYTES)
    vectors = np.ascontiguousarray(stored[:, :width]).view("<f4")
    good = normal(vectors)
    if not good.all():
        sound[np.flatnonzero(sound)[~good]] = False
        vectors = vectors[good]
    return sound, vectors
