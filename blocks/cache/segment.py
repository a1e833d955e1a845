"""A segment: an immutable file with the keys and vectors of one write, every row with a checksum of its own.

    8 bytes              "PFOVEC1" and a line feed
    4, 4, 4              rows, dimension, CRC-32 of both and of the keys
    rows × 16            keys
    rows × (4 d + 4)     vector (float32), CRC-32 of key and vector

All little-endian. Keys come first, so that an index is read without the vectors; rows have one size, so
that any is read with one call. Files are read with plain calls and never mapped: a mapped file that another
host of a shared folder removes kills its reader (SIGBUS).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, Final
from uuid import uuid4
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from prefect_ollama.blocks.cache.keys import KEY_BYTES, Keys
from prefect_ollama.blocks.wire.answer import NORM_TOLERANCE, Vectors

Rows = NDArray[Any]
"""Structured array of a segment's rows: fields `vector` (float32, dimension) and `check` (uint32)."""

SUFFIX: Final = ".segment"
_MAGIC: Final = b"PFOVEC1\n"
_HEAD: Final = Struct("<8sIII")
_SHAPE: Final = Struct("<II")
_NAME: Final = re.compile(r"(\d{1,9})x(\d{1,6})-[0-9a-f]{32}" + re.escape(SUFFIX))


class DamagedError(Exception):
    """A segment is not what was written.

    Attributes:
        name: Name of the segment.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


def new_name(rows: int, dimension: int) -> str:
    """Return a name for a segment, which no other has."""
    return f"{rows}x{dimension}-{uuid4().hex}{SUFFIX}"


def shape(name: str) -> tuple[int, int] | None:
    """Return rows and dimension from a segment's name, or None where it is not the name of one."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def size(rows: int, dimension: int) -> int:
    """Return the bytes of a segment of that shape."""
    return _HEAD.size + rows * (KEY_BYTES + _row_type(dimension).itemsize)


def _row_type(dimension: int) -> np.dtype[Any]:
    return np.dtype([("vector", "<f4", (dimension,)), ("check", "<u4")])


def rows_of(keys: Keys, vectors: Vectors) -> Rows:
    """Return the rows to store: the vectors with their checksums."""
    rows = np.empty(len(keys), _row_type(vectors.shape[1]))
    rows["vector"] = vectors
    rows["check"] = _checks(keys, rows)
    return rows


def _checks(keys: Keys, rows: Rows) -> list[int]:
    step, width = rows.dtype.itemsize, rows.dtype.itemsize - 4
    key, row = keys.tobytes(), rows.view(np.uint8).data
    return [
        crc32(row[i * step : i * step + width], crc32(key[i * KEY_BYTES : (i + 1) * KEY_BYTES]))
        for i in range(len(rows))
    ]


def normal(vectors: Vectors) -> NDArray[np.bool_]:
    """Return which vectors are finite and of norm 1: what no node sends is not believed of a file either."""
    with np.errstate(all="ignore"):
        squared = np.einsum("ij,ij->i", vectors, vectors)
        return np.asarray(np.abs(squared - 1.0) <= 2 * NORM_TOLERANCE)


def sound(keys: Keys, rows: Rows) -> NDArray[np.bool_]:
    """Return which rows are as they were written under these keys."""
    return np.asarray((rows["check"] == _checks(keys, rows)) & normal(rows["vector"]))


def write(file: BinaryIO, keys: Keys, rows: Rows) -> None:
    """Write a segment into an open file."""
    raw = keys.tobytes()
    dimension = rows.dtype["vector"].shape[0]
    check = crc32(raw, crc32(_SHAPE.pack(len(keys), dimension)))
    file.write(_HEAD.pack(_MAGIC, len(keys), dimension, check) + raw)
    file.write(rows.data)


def read_keys(path: Path) -> Keys:
    """Return the keys of a segment, in the order of its rows.

    Raises:
        DamagedError: It is not whole, or its head or keys are not what was written.
        OSError: It is gone, or cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        keys = _read_keys(file, path.name)
        if file.seek(0, 2) != size(*(shape(path.name) or (0, 0))):
            raise DamagedError(path.name, "it is not as long as it was written")
    return keys


def _read_keys(file: Any, name: str) -> Keys:
    count, dimension = shape(name) or (0, 0)
    raw = bytearray(_HEAD.size + count * KEY_BYTES)
    if file.readinto(raw) != len(raw):
        raise DamagedError(name, "it ends within its keys")
    head = _HEAD.pack(
        _MAGIC, count, dimension, crc32(raw[_HEAD.size :], crc32(_SHAPE.pack(count, dimension)))
    )
    if raw[: _HEAD.size] != head:
        raise DamagedError(name, "its head or keys are not what was written")
    return np.frombuffer(raw, "<u8", offset=_HEAD.size).reshape(-1, 2)


def read_rows(path: Path, numbers: Sequence[int] | NDArray[np.int32]) -> Rows:
    """Return some rows of a segment, unchecked.

    Args:
        path: The segment.
        numbers: Which rows, ascending; neighbours are read with one call.

    Raises:
        DamagedError: It ends before one of them.
        OSError: It is gone, or cannot be read.
    """
    count, dimension = shape(path.name) or (0, 0)
    rows = np.empty(len(numbers), _row_type(dimension))
    step, start = rows.dtype.itemsize, _HEAD.size + count * KEY_BYTES
    raw = rows.view(np.uint8).data
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    edges = [0, *breaks.tolist(), len(numbers)]
    with path.open("rb", buffering=0) as file:
        for first, last in pairwise(edges):
            file.seek(start + int(numbers[first]) * step)
            if file.readinto(raw[first * step : last * step]) != (last - first) * step:
                raise DamagedError(path.name, "it ends within its vectors")
    return rows


def salvage(path: Path, name: str) -> tuple[Keys, Rows]:
    """Return what is still sound in a segment.

    Args:
        path: Where it is now.
        name: The name it had.

    Raises:
        DamagedError: Its keys are not what was written, so no row can be told.
        OSError: It is gone, or cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        keys = _read_keys(file, name)
        rest = file.readall()
    kind = _row_type((shape(name) or (0, 0))[1])
    whole = min(len(rest) // kind.itemsize, len(keys))
    rows = np.frombuffer(rest, kind, count=whole)
    good = sound(keys[:whole], rows)
    return keys[:whole][good], rows[good]
