"""A record: the bytes of one vector as they are stored, with a checksum over its key and its floats.

    4 d bytes    vector, float32, little-endian
    4 bytes      CRC-32 of the key and the vector, little-endian

The key is in the checksum, so that a sound record under another key counts as damaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.nodes import NORM_TOLERANCE, Vectors

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
